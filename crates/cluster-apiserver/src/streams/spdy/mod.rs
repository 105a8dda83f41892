//! SPDY/3.1: channels that the client opens, with headers that say what they are.
//!
//! There is no kept library for it, and little of it is needed: streams that are opened, written to, ended and reset, and pings.

mod frame;
mod headers;

use std::collections::VecDeque;
use std::io;

use base_rt::Tasks;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::wire::{Incoming, Outgoing, QUEUE, Wire, Writer};
use frame::{Frame, Frames, Writing};
pub(super) use headers::Headers;

/// Channels over a connection, which is cut into halves.
pub(super) fn wire<R, W>(reader: R, writer: W, tasks: &Tasks) -> Wire
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let reading = Reading { frames: Frames::new(reader), answers: outgoing.clone(), next: VecDeque::new(), last: 0 };
    let incoming = futures::stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next().await?.map(|said| (said, reading)))
    });
    let writer = Writer(tasks.spawn_transient("apiserver/stream-writer", write(writer, queue)));
    Wire { incoming: incoming.boxed(), outgoing, writer }
}

struct Reading<R> {
    frames: Frames<R>,
    /// What the protocol itself has to answer.
    answers: mpsc::Sender<Outgoing>,
    /// What has been read and not told.
    next: VecDeque<Incoming>,
    /// The stream that was opened last.
    last: u32,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn next(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            if let Some(said) = self.next.pop_front() {
                return Ok(Some(said));
            }
            let Some(frame) = self.frames.next().await? else { return Ok(None) };
            self.take(frame).await?;
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::SynStream { stream, is_last, headers } => {
                let is_new = stream > self.last && stream % 2 == 1;
                if !is_new {
                    return Err(headers::damaged("a stream is opened twice, or is not the client's"));
                }
                self.last = stream;
                self.answer(Outgoing::Accept(stream)).await?;
                self.next.push_back(Incoming::Opened(stream, headers));
                self.next.extend(is_last.then_some(Incoming::Closed(stream)));
            }
            Frame::Data { stream, is_last, bytes } => {
                self.next.extend((!bytes.is_empty()).then_some(Incoming::Data(stream, bytes)));
                self.next.extend(is_last.then_some(Incoming::Closed(stream)));
            }
            Frame::RstStream(stream) => self.next.push_back(Incoming::Reset(stream)),
            Frame::Ping(id) => self.answer(Outgoing::Pong(id)).await?,
            Frame::Other => {}
        }
        Ok(())
    }

    async fn answer(&mut self, what: Outgoing) -> io::Result<()> {
        self.answers.send(what).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>) {
    let (mut writing, mut last) = (Writing::new(), 0);
    while let Some(what) = queue.recv().await {
        let is_end = what == Outgoing::Finish;
        let bytes = match what {
            Outgoing::Data(stream, bytes) => Writing::data(stream, &bytes, false),
            Outgoing::Close(stream) => Writing::data(stream, &[], true),
            Outgoing::Reset(stream) => Writing::reset(stream),
            Outgoing::Accept(stream) => {
                last = stream;
                writing.reply(stream)
            }
            Outgoing::Pong(id) => Writing::pong(id),
            Outgoing::Finish => Writing::leave(last),
        };
        // Who reads notices too.
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
        if is_end {
            // The client may have closed before.
            let _ = to.shutdown().await;
            return;
        }
    }
}
