//! Compressed streams: which one it is by its first bytes, and reading and writing it.
//!
//! What a manifest's media type says about compression is not relied on: builders got it wrong often enough that every runtime looks
//! at the bytes. Concatenated gzip members and Zstandard frames are one stream (seekable formats are made of many).
//! Memory is bounded by the formats' windows: 32 KiB, and 128 MiB for Zstandard.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::media_type::Compression;

/// The largest window that a Zstandard layer may ask for: 2^27 is what `zstd --ultra -22` uses, without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Fast, and smaller than gzip's best.
const ZSTD_LEVEL: i32 = 3;

/// How much of the compressed stream is read at once.
const BUFFER_BYTES: usize = 64 << 10;

type Buffered<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// Reads a stream's content, whatever its compression.
pub enum Decoder<R: Read> {
    /// It is not compressed.
    Plain(Buffered<R>),
    /// gzip.
    Gzip(Box<MultiGzDecoder<Buffered<R>>>),
    /// Zstandard.
    Zstd(Box<zstd::Decoder<'static, Buffered<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader`.
    ///
    /// # Errors
    /// Of reading.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut head)?;
        let compression = sniff(&head);
        let buffered = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(reader));
        Ok(match compression {
            Compression::None => Self::Plain(buffered),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(buffered)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    /// The compression that was found.
    pub fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// What was wrapped. Bytes that were read ahead and not used are lost.
    pub fn into_inner(self) -> R {
        let buffered = match self {
            Self::Plain(buffered) => buffered,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        buffered.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// The compression of a stream that begins with `head` (four bytes suffice).
pub(crate) fn sniff(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or a skippable frame as seekable formats begin with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Compresses what is written to it. The same bytes give the same stream.
pub enum Encoder<W: Write> {
    /// Not at all.
    Plain(W),
    /// gzip.
    Gzip(GzEncoder<W>),
    /// Zstandard.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Starts a stream into `writer`.
    ///
    /// # Errors
    /// Of Zstandard's set-up.
    pub fn new(writer: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(writer),
            Compression::Gzip => Self::Gzip(GzEncoder::new(writer, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(writer, ZSTD_LEVEL)?),
        })
    }

    /// Ends the stream and gives the writer back.
    ///
    /// # Errors
    /// Of writing.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(writer) => writer.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
            Self::Zstd(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(writer) => writer.flush(),
            Self::Zstd(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_is_recognised_and_read() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encoded = encode(b"hello", compression);
            let twice = [encoded.clone(), encoded].concat();
            let mut decoder = Decoder::new(twice.as_slice()).unwrap();
            assert_eq!(decoder.compression(), compression);
            let mut text = String::new();
            decoder.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hellohello", "{compression:?}");
            assert!(decoder.into_inner().is_empty());
        }
    }

    #[test]
    fn short_and_broken_streams() {
        for bytes in [&b""[..], b"a", b"abc"] {
            let mut read = Vec::new();
            Decoder::new(bytes).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
        for compression in [Compression::Gzip, Compression::Zstd] {
            let encoded = encode(&[7; 1000], compression);
            let cut = encoded.get(..encoded.len() - 3).unwrap();
            assert!(Decoder::new(cut).unwrap().read_to_end(&mut Vec::new()).is_err(), "{compression:?}");
        }
    }
}
