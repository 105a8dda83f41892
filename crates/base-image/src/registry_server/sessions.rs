//! Uploads under way: a bounded number of half-written blobs, each used by one request at a time.
//!
//! They live in memory and in the store's `tmp/`; a restart forgets them, and the client starts again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::error::{Code, Failure};
use crate::store::BlobWriter;

/// The most uploads at once; a push of an image uses three to five.
pub(super) const MAX_SESSIONS: usize = 128;

/// How long an upload may lie idle.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(15 * 60);

/// The uploads under way.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Session>>);

#[derive(Debug)]
struct Session {
    /// `None` while a request writes.
    writer: Option<BlobWriter>,
    last_used: Instant,
}

/// A session's writer, taken for one request. Dropped without [`put_back`](Self::put_back), it ends the upload.
pub(super) struct Taken<'a> {
    sessions: &'a Sessions,
    id: String,
    writer: Option<BlobWriter>,
}

impl Sessions {
    /// Starts an upload and gives its id.
    pub(super) fn start(&self, writer: BlobWriter) -> Result<String, Failure> {
        let id = Uuid::new_v4().to_string();
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            return Err(Failure::new(
                Code::TooManyRequests,
                format!("{MAX_SESSIONS} uploads are under way: try again later"),
            ));
        }
        sessions.insert(id.clone(), Session { writer: Some(writer), last_used: Instant::now() });
        Ok(id)
    }

    /// Ends uploads that lay idle for too long; gives how many.
    pub(super) fn expire(&self) -> u64 {
        let mut sessions = self.lock();
        let before = sessions.len();
        sessions.retain(|_, session| session.writer.is_none() || session.last_used.elapsed() < MAX_IDLE);
        (before - sessions.len()) as u64
    }

    /// How many bytes an upload has.
    pub(super) fn length(&self, id: &str) -> Result<u64, Failure> {
        let sessions = self.lock();
        let session = sessions.get(id).ok_or_else(unknown)?;
        session.writer.as_ref().map(BlobWriter::length).ok_or_else(busy)
    }

    /// Takes an upload's writer for one request.
    pub(super) fn take(&self, id: &str) -> Result<Taken<'_>, Failure> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(id).ok_or_else(unknown)?;
        let writer = session.writer.take().ok_or_else(busy)?;
        Ok(Taken { sessions: self, id: id.to_owned(), writer: Some(writer) })
    }

    /// Ends an upload.
    pub(super) fn cancel(&self, id: &str) -> Result<(), Failure> {
        self.take(id).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::length)
    }

    /// The writer, to write with.
    pub(super) fn writer(&mut self) -> Result<BlobWriter, Failure> {
        self.writer.take().ok_or_else(busy)
    }

    /// The request is over, the upload goes on.
    pub(super) fn put_back(self, writer: BlobWriter) {
        if let Some(session) = self.sessions.lock().get_mut(&self.id) {
            *session = Session { writer: Some(writer), last_used: Instant::now() };
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&self.id).is_some_and(|session| session.writer.is_none()) {
            sessions.remove(&self.id);
        }
    }
}

fn unknown() -> Failure {
    Failure::new(
        Code::BlobUploadUnknown,
        "there is no such upload: it ended, was idle for too long, or the registry restarted",
    )
}

fn busy() -> Failure {
    Failure::new(Code::BlobUploadInvalid, "another request is writing to this upload")
}
