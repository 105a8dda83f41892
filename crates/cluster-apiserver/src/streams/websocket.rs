//! Websockets: one message for each piece of a channel, its first byte the channel's number; or SPDY cut into messages.
//!
//! With `v5.channel.k8s.io` a client's message `255, n` ends channel n; before, no channel ends before the connection. A piece may be empty,
//! and text is as good as bytes.

use std::io;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::wire::{Incoming, Outgoing, QUEUE, Wire, Writer};
use base_rt::Tasks;

/// The longest message of a client.
const MESSAGE_MAX_BYTES: usize = 1 << 20;
/// What is read at once.
const READ_BYTES: usize = 32 << 10;
/// The channel over which clients say that another one ends.
const CLOSE: u8 = 255;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_MAX_BYTES))
        .max_frame_size(Some(MESSAGE_MAX_BYTES))
}

/// Channels over a websocket.
pub(super) async fn wire<S>(stream: S, has_close: bool, tasks: &Tasks) -> Wire
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
    let (sink, stream) = socket.split();
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let incoming = stream.filter_map(move |message| std::future::ready(incoming(message, has_close)));
    let writer = Writer(tasks.spawn_transient("apiserver/stream-writer", write(sink, queue)));
    Wire { incoming: incoming.boxed(), outgoing, writer }
}

/// What a message says; none if nothing.
fn incoming(message: Result<Message, Error>, has_close: bool) -> Option<io::Result<Incoming>> {
    let bytes = match payload(message)? {
        Ok(bytes) => bytes,
        Err(error) => return Some(Err(error)),
    };
    let (channel, rest) = (*bytes.first()?, bytes.slice(1..));
    match (channel, rest.first()) {
        (CLOSE, Some(ended)) if has_close => Some(Ok(Incoming::Closed(u32::from(*ended)))),
        (_, None) => None,
        (channel, Some(_)) => Some(Ok(Incoming::Data(u32::from(channel), rest))),
    }
}

/// A message's bytes; none if it is one between the two ends.
fn payload(message: Result<Message, Error>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(text)) => Some(Ok(text.into())),
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}

async fn write<S>(mut sink: SplitSink<WebSocketStream<S>, Message>, mut queue: mpsc::Receiver<Outgoing>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(what) = queue.recv().await {
        let message = match what {
            Outgoing::Data(channel, bytes) => {
                let Ok(channel) = u8::try_from(channel) else { continue };
                let mut message = Vec::with_capacity(bytes.len() + 1);
                message.push(channel);
                message.extend_from_slice(&bytes);
                Message::binary(message)
            }
            Outgoing::Finish => Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })),
            // There are no words for these.
            Outgoing::Close(_) | Outgoing::Reset(_) | Outgoing::Accept(_) | Outgoing::Pong(_) => continue,
        };
        // Who reads notices too.
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// A stream of bytes through a websocket.
pub(super) async fn tunnel<S>(stream: S) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
    let (sink, stream): (_, SplitStream<_>) = socket.split();
    let pieces = stream.filter_map(|message| std::future::ready(payload(message)));
    let messages = sink
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| std::future::ready(io::Result::Ok(Message::Binary(bytes))));
    (StreamReader::new(Box::pin(pieces)), SinkWriter::new(CopyToBytes::new(Box::pin(messages))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn said(bytes: &'static [u8], has_close: bool) -> Option<Incoming> {
        incoming(Ok(Message::Binary(Bytes::from_static(bytes))), has_close).map(Result::unwrap)
    }

    #[test]
    fn the_first_byte_is_the_channel() {
        assert_eq!(said(b"\0hi", true), Some(Incoming::Data(0, Bytes::from_static(b"hi"))));
        assert_eq!(said(b"\xff\0", true), Some(Incoming::Closed(0)));
        assert_eq!(said(b"\xff\0", false), Some(Incoming::Data(255, Bytes::from_static(b"\0"))));
        assert!(said(b"", true).is_none() && said(b"\0", true).is_none() && said(b"\xff", true).is_none());
        assert!(incoming(Ok(Message::text("\u{0}hi")), true).is_some());
        assert!(incoming(Ok(Message::Ping(Bytes::new())), true).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn garbage_is_an_error_or_nothing(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut client, server) = tokio::io::duplex(1024);
                let (mut reader, _writer) = tunnel(server).await;
                client.write_all(&garbage).await.unwrap();
                client.shutdown().await.unwrap();
                let mut read = Vec::new();
                // Whatever comes of it, it comes to an end.
                let _ = reader.read_to_end(&mut read).await;
                assert!(read.len() <= garbage.len());
            });
        }
    }
}
