//! SPDY/3.1's frames, as far as they occur between Kubernetes' clients and servers.
//!
//! ```text
//! control   1 version:15 type:16   flags:8 length:24   payload
//! data      0 stream:31            flags:8 length:24   payload
//! ```
//! Neither side looks at windows: there is one transport below, which waits.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::headers::{Headers, Packer, Unpacker, damaged};

/// What is read of a data frame at once; a longer one comes in pieces.
const PIECE_BYTES: usize = 32 << 10;
/// The longest control frame.
const CONTROL_MAX_BYTES: usize = 16 << 10;
const CONTROL: u32 = 1 << 31;
const VERSION: u32 = 3 << 16;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
/// The reason of a reset that says nothing more.
const CANCEL: u32 = 5;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    SynStream {
        stream: u32,
        is_last: bool,
        headers: Headers,
    },
    Data {
        stream: u32,
        is_last: bool,
        bytes: Bytes,
    },
    RstStream(u32),
    Ping(u32),
    /// What changes nothing here.
    Other,
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    unpacker: Unpacker,
    /// What is left of a data frame: its stream, whether it is the last, how much.
    rest: Option<(u32, bool, usize)>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, unpacker: Unpacker::new(), rest: None }
    }

    /// The next frame; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        if let Some(rest) = self.rest.take() {
            return self.piece(rest).await.map(Some);
        }
        let mut head = [0; 8];
        match self.from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        };
        let [a, b, c, d, flags, length @ ..] = head;
        let word = u32::from_be_bytes([a, b, c, d]);
        let [high, middle, low] = length;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let is_last = flags & FLAG_FIN != 0;
        if word & CONTROL == 0 {
            return self.piece((word, is_last, length)).await.map(Some);
        }
        if length > CONTROL_MAX_BYTES {
            return Err(damaged("a control frame is too long"));
        }
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).await?;
        self.control(u16::from_be_bytes([c, d]), is_last, &payload).map(Some)
    }

    /// A data frame, or a part of one.
    async fn piece(&mut self, (stream, is_last, left): (u32, bool, usize)) -> io::Result<Frame> {
        let mut bytes = vec![0; left.min(PIECE_BYTES)];
        self.from.read_exact(&mut bytes).await?;
        let left = left - bytes.len();
        self.rest = (left > 0).then_some((stream, is_last, left));
        Ok(Frame::Data { stream, is_last: is_last && left == 0, bytes: bytes.into() })
    }

    fn control(&mut self, kind: u16, is_last: bool, payload: &[u8]) -> io::Result<Frame> {
        let first = || {
            let number = payload.first_chunk().ok_or_else(|| damaged("a control frame is cut"))?;
            io::Result::Ok(u32::from_be_bytes(*number) & !CONTROL)
        };
        Ok(match kind {
            SYN_STREAM => {
                // Stream, the one that it belongs to, priority, slot.
                let block = payload.get(10..).ok_or_else(|| damaged("a control frame is cut"))?;
                Frame::SynStream { stream: first()?, is_last, headers: self.unpacker.read(block)? }
            }
            RST_STREAM => Frame::RstStream(first()?),
            PING => Frame::Ping(first()?),
            _ => Frame::Other,
        })
    }
}

/// What is sent to a client, as bytes.
#[derive(Debug)]
pub(super) struct Writing(Packer);

impl Writing {
    pub(super) fn new() -> Self {
        Self(Packer::new())
    }

    /// The client's stream is accepted.
    pub(super) fn reply(&mut self, stream: u32) -> Vec<u8> {
        let block = self.0.write(&Headers::new());
        control(SYN_REPLY, &[&stream.to_be_bytes(), &block])
    }

    /// Something for a stream.
    pub(super) fn data(stream: u32, bytes: &[u8], is_last: bool) -> Vec<u8> {
        frame(stream & !CONTROL, if is_last { FLAG_FIN } else { 0 }, &[bytes])
    }

    /// Nothing more is said or heard on a stream.
    pub(super) fn reset(stream: u32) -> Vec<u8> {
        control(RST_STREAM, &[&stream.to_be_bytes(), &CANCEL.to_be_bytes()])
    }

    /// The answer to a ping.
    pub(super) fn pong(id: u32) -> Vec<u8> {
        control(PING, &[&id.to_be_bytes()])
    }

    /// No stream is accepted any more.
    pub(super) fn leave(last: u32) -> Vec<u8> {
        control(GOAWAY, &[&last.to_be_bytes(), &0_u32.to_be_bytes()])
    }
}

fn control(kind: u16, payload: &[&[u8]]) -> Vec<u8> {
    frame(CONTROL | VERSION | u32::from(kind), 0, payload)
}

fn frame(word: u32, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let [_, length @ ..] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = word.to_be_bytes().to_vec();
    bytes.push(flags);
    bytes.extend(length);
    payload.iter().for_each(|part| bytes.extend(*part));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut frames = Frames::new(bytes);
        let mut all = Vec::new();
        while let Some(frame) = frames.next().await? {
            all.push(frame);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn frames_are_read() {
        let headers: Headers = [("streamtype".to_owned(), "error".to_owned())].into();
        let block = Packer::new().write(&headers);
        let syn = control(SYN_STREAM, &[&1_u32.to_be_bytes(), &[0; 6], &block]);
        let long = vec![b'x'; PIECE_BYTES + 1];
        let all = [syn, Writing::data(1, &long, true), Writing::pong(3), Writing::reset(1), Writing::leave(0)].concat();
        let frames = read(&all).await.unwrap();
        assert_eq!(frames[0], Frame::SynStream { stream: 1, is_last: false, headers });
        assert!(matches!(&frames[1], Frame::Data { stream: 1, is_last: false, bytes } if bytes.len() == PIECE_BYTES));
        assert_eq!(frames[2], Frame::Data { stream: 1, is_last: true, bytes: Bytes::from_static(b"x") });
        assert_eq!(frames[3..], [Frame::Ping(3), Frame::RstStream(1), Frame::Other]);
        let empty = Frame::Data { stream: 5, is_last: true, bytes: Bytes::new() };
        assert_eq!(read(&Writing::data(5, b"", true)).await.unwrap(), [empty]);
    }

    /// As kubectl opens the channels of a forwarded connection: written by moby/spdystream 0.5.1.
    const RECORDED: [&str; 2] = [
        "800300010000003d0000000100000000000078f9e3c6a7c202253a060606ce2248fc6482d22da30138e59514a526e6420b17d65450d0430aea2250a266b23000000000ffff",
        "800300010000001a00000003000000000000826a4515216410a8944a04000000ffff",
    ];

    #[tokio::test]
    async fn frames_of_kubectl_are_read() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let headers = |streamtype: &str| -> Headers {
            let pairs = [("port", "80"), ("requestid", "0"), ("streamtype", streamtype)];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        let expected = [(1, headers("error")), (3, headers("data"))].map(|(stream, headers)| Frame::SynStream {
            stream,
            is_last: false,
            headers,
        });
        assert_eq!(read(&RECORDED.map(hex).concat()).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn frames_are_bounded_and_whole() {
        let long = control(SYN_STREAM, &[&vec![0; CONTROL_MAX_BYTES + 1]]);
        assert_eq!(read(&long).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read(&control(PING, &[&[0, 0]])).await.is_err());
        assert!(read(&control(SYN_STREAM, &[&[0; 9]])).await.is_err());
        assert!(read(&Writing::data(1, b"abc", false)[..10]).await.is_err());
    }

    proptest! {
        #[test]
        fn garbage_comes_to_an_end(garbage in proptest::collection::vec(any::<u8>(), 0..400)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&garbage));
            let control_frame = [control(SYN_STREAM, &[&garbage]), garbage].concat();
            let _ = runtime.block_on(read(&control_frame));
        }
    }
}
