//! Writing a blob from asynchronous code: a bounded channel to one blocking thread that hashes and writes.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{BlobError, BlobWriter};
use crate::digest::Digest;

/// Chunks that may wait for the disk: with what HTTP hands over at once, well under a megabyte.
const WAITING_CHUNKS: usize = 8;

/// A [`BlobWriter`] fed from a task.
#[derive(Debug)]
pub struct BlobSink {
    chunks: mpsc::Sender<Bytes>,
    worker: JoinHandle<(BlobWriter, Result<(), BlobError>)>,
}

impl BlobSink {
    /// Moves `writer` to a blocking thread of the current runtime.
    pub fn new(mut writer: BlobWriter) -> Self {
        let (chunks, mut received) = mpsc::channel::<Bytes>(WAITING_CHUNKS);
        let worker = tokio::task::spawn_blocking(move || {
            let mut outcome = Ok(());
            while let Some(chunk) = received.blocking_recv() {
                outcome = writer.write(&chunk);
                if outcome.is_err() {
                    break;
                }
            }
            (writer, outcome)
        });
        Self { chunks, worker }
    }

    /// Hands over a chunk. After an error of the disk this returns `false`, and [`finish`](Self::finish) says what it was.
    pub async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits until everything is written, and gives the writer back: after an error too, with what was written before it.
    pub async fn finish(self) -> (Option<BlobWriter>, Result<(), BlobError>) {
        drop(self.chunks);
        match self.worker.await {
            Ok((writer, outcome)) => (Some(writer), outcome),
            Err(error) => (None, Err(BlobError::Write(error.into()))),
        }
    }

    /// Waits until everything is written and makes it a blob.
    ///
    /// # Errors
    /// As for [`BlobWriter::write`] and [`BlobWriter::commit`].
    pub async fn commit(self, expected: Option<Digest>) -> Result<Digest, BlobError> {
        let (writer, outcome) = self.finish().await;
        outcome?;
        match writer {
            Some(writer) => commit(writer, expected).await,
            None => Err(BlobError::Write(std::io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// [`BlobWriter::commit`] on a blocking thread: it waits for the disk.
pub(crate) async fn commit(writer: BlobWriter, expected: Option<Digest>) -> Result<Digest, BlobError> {
    let done = tokio::task::spawn_blocking(move || writer.commit(expected)).await;
    done.unwrap_or_else(|error| Err(BlobError::Write(error.into())))
}
