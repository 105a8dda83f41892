//! Doors for the fuzzer: what a session's client sends, read to its end.

use std::io::Cursor;

use base_rt::Tasks;
use futures::StreamExt;

use super::wire::{Incoming, Wire};
use super::{spdy as spdy_wire, websocket as websocket_wire};

/// Reads SPDY; gives how many bytes arrived on its channels.
pub async fn spdy(bytes: Vec<u8>, tasks: &Tasks) -> usize {
    read(spdy_wire::wire(Cursor::new(bytes), tokio::io::sink(), tasks)).await
}

/// Reads websocket messages, with channels that can be closed or as a tunnel of SPDY; gives how many bytes arrived.
pub async fn websocket(bytes: Vec<u8>, is_tunnel: bool, tasks: &Tasks) -> usize {
    let stream = tokio::io::join(Cursor::new(bytes), tokio::io::sink());
    if is_tunnel {
        let (reader, writer) = websocket_wire::tunnel(stream).await;
        return read(spdy_wire::wire(reader, writer, tasks)).await;
    }
    read(websocket_wire::wire(stream, true, tasks).await).await
}

async fn read(mut wire: Wire) -> usize {
    let mut count = 0;
    while let Some(Ok(said)) = wire.incoming.next().await {
        if let Incoming::Data(_, bytes) = said {
            count += bytes.len();
        }
    }
    count
}
