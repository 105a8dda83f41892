//! What carries a session: numbered channels over one connection, whatever that speaks.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::spdy::Headers;

/// What may wait to be written: chunks, which are small.
pub(super) const QUEUE: usize = 8;
/// How long a client may take to take its leave, once everything is said.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// It opens a channel. Where channels have fixed numbers, nobody opens them.
    Opened(u32, Headers),
    /// It says something.
    Data(u32, Bytes),
    /// It says no more.
    Closed(u32),
    /// It neither says more nor listens.
    Reset(u32),
}

/// What is done to a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Data(u32, Bytes),
    /// Nothing more comes.
    Close(u32),
    /// The channel is refused, or given up.
    Reset(u32),
    /// The channel is accepted.
    Accept(u32),
    /// The client's sign of life is answered.
    Pong(u32),
    /// Everything is said.
    Finish,
}

/// A connection that has been upgraded.
pub(super) struct Wire {
    /// What the client does; its end or an error means that the client is gone.
    pub(super) incoming: BoxStream<'static, io::Result<Incoming>>,
    /// Takes what the client gets. It waits for a client that does not read.
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) writer: Writer,
}

/// The task that writes; it ends with the session.
pub(super) struct Writer(pub(super) AbortHandle);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The client is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Hands something to the client.
pub(super) async fn send(to: &mpsc::Sender<Outgoing>, what: Outgoing) -> Result<(), Gone> {
    to.send(what).await.map_err(|_| Gone)
}

impl Wire {
    /// Ends the session: what is queued arrives, then the client is left time to take its leave. Closing at once could take from it what it
    /// has not read.
    pub(super) async fn finish(mut self) {
        let leaving = async {
            if send(&self.outgoing, Outgoing::Finish).await.is_ok() {
                while let Some(Ok(_)) = self.incoming.next().await {}
            }
        };
        // Who does not leave is left.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, leaving).await;
        drop(self.writer);
    }
}
