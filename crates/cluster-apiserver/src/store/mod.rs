//! The store: one writer, one global revision counter, all objects in memory, every write durable before it is acknowledged.
//!
//! ```text
//! commit ─► check expectation against the head ─► next revision ─► queue ─► journal (group commit) ─► publish ─► acknowledge
//!                (published, or still queued)                                    │                    table, history, wake watches
//!                                                          lazy writes skip the journal and follow it later
//! ```
//! - **Publication is in revision order.** Whoever has seen revision *n* has seen, or can read, every write up to *n*.
//! - **Durable before visible.** A write is published when the journal has it. Lazy writes (see [`durability`]) are published as soon as
//!   everything before them is, and reach the journal with the next batch.
//! - **Revisions never go back.** The journal holds a *ceiling*; revisions up to it may be given out, and a restart starts above it. It is
//!   raised in leaps, so that lazy writes need no disk either.
//! - **A slow watch delays nobody.** A watch has a cursor, not a queue: it reads the history of its table when it is woken; if it fell
//!   behind the history's bound it ends with [`Expired`] (410).
//! - **A journal that failed ends the store**: nothing is acknowledged any more, [`Store::failed`] yields, the process should end.

pub mod durability;
mod history;
pub mod journal;
mod key;
mod metrics;
mod object;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod watcher;
mod writer;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

pub use history::{MAX_BYTES as HISTORY_MAX_BYTES, MAX_EVENTS as HISTORY_MAX_EVENTS};
pub use journal::{Journal, JournalError};
pub use key::{ObjectKey, Revision, TableName};
pub use object::{Change, Event, Labels, Stored};
pub use watcher::{Expired, Watcher};

use journal::Threading;
use metrics::Metrics;
use state::State;

/// What the writer expects to find before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No object under the key.
    Absent,
    /// The object at exactly this revision.
    At(Revision),
}

/// Whether a write must be on disk before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk before its reply.
    Durable,
    /// Soon on disk; a crash may lose it, never a write before it and not after it.
    Lazy,
}

/// An object's next state, once its revision is known.
#[derive(Debug)]
pub struct NewBody {
    /// JSON text without type meta, with the revision as `metadata.resourceVersion`.
    pub body: Vec<u8>,
    /// See [`Stored::labels`].
    pub labels: Labels,
    /// See [`Stored::shape`].
    pub shape: u64,
}

/// Which write to make; the body follows when the revision is known.
#[derive(Clone, Debug)]
pub struct Write {
    /// The table.
    pub table: TableName,
    /// The object.
    pub key: ObjectKey,
    /// What must be there now.
    pub expected: Expected,
    /// Whether the reply waits for the disk.
    pub durability: Durability,
    /// Whether the object goes away; the body is its last state.
    pub is_deletion: bool,
    /// The body may have so many bytes.
    pub max_bytes: usize,
}

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something is there already.
    #[error("the object exists already")]
    Exists,
    /// The object is not there (any more).
    #[error("the object does not exist")]
    Missing,
    /// The object has another revision.
    #[error("the object is at revision {0}")]
    Conflict(Revision),
    /// There is no such table (any more).
    #[error("there is no such table")]
    NoTable,
    /// The body has more bytes than the write allows.
    #[error("the object is larger than {0} bytes")]
    TooLarge(usize),
    /// The object could not be brought into the form that is kept.
    #[error("{0}")]
    Unkept(Arc<str>),
    /// The journal failed; nothing is written any more.
    #[error("the store has failed: {0}")]
    Failed(Arc<str>),
}

/// The newest state of an object, perhaps not yet published.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The object, if it exists.
    pub object: Option<Arc<Stored>>,
    /// The revision of the last unpublished write to it; whoever answers with what it saw waits for it: [`Store::published`].
    pub unpublished: Option<Revision>,
}

/// Objects of a table at one revision, in key order.
#[derive(Debug)]
pub struct Snapshot {
    /// The objects.
    pub objects: Vec<Arc<Stored>>,
    /// The revision that they are the state of.
    pub revision: Revision,
}

/// The store. Clones share it; the last one ends the writer.
#[derive(Clone, Debug)]
pub struct Store(Arc<Owner>);

/// What dies with the last clone of a [`Store`].
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the writer's thread.
    work: Condvar,
    /// Wakes whoever flushes lazy writes.
    lazy: Notify,
    failed: base_rt::watch::Sender<Option<Arc<str>>>,
    metrics: Metrics,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens the store on a journal and reads everything that it holds.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn open(mut journal: Box<dyn Journal>, metrics: &base_rt::metrics::Scope) -> Result<Self, JournalError> {
        let state = State::recover(journal.as_mut())?;
        let threading = journal.threading();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            lazy: Notify::new(),
            failed: base_rt::watch::Sender::new(None),
            metrics: Metrics::new(metrics),
        });
        let thread = match threading {
            Threading::Inline => {
                shared.lock().inline = Some(journal);
                None
            }
            Threading::OwnThread => Some(writer::start(Arc::clone(&shared), journal)?),
        };
        Ok(Self(Arc::new(Owner { shared, thread: Mutex::new(thread) })))
    }

    /// Makes sure that a table exists, so that it can be watched before its first object.
    pub fn ensure_table(&self, name: &TableName) {
        self.0.shared.lock().ensure_table(name);
    }

    /// Forgets an empty table; its watches end when they have told all that happened. Does nothing while objects are in it.
    pub fn drop_table(&self, name: &TableName) {
        self.0.shared.lock().drop_table(name);
    }

    /// Makes one write and waits until it is visible, and durable unless it is lazy. `encode` gets the revision; it runs under the store's lock.
    ///
    /// The write is made even if the returned future is dropped.
    ///
    /// # Errors
    /// The expectation does not hold, or the store has failed.
    pub async fn commit(
        &self,
        write: Write,
        encode: impl FnOnce(Revision) -> NewBody,
    ) -> Result<Arc<Stored>, CommitError> {
        let (object, acknowledged) = self.enqueue(write, encode)?;
        if let Some(acknowledged) = acknowledged
            && acknowledged.await.is_err()
        {
            return Err(CommitError::Failed(self.failure_text()));
        }
        Ok(object)
    }

    fn enqueue(
        &self,
        write: Write,
        encode: impl FnOnce(Revision) -> NewBody,
    ) -> Result<(Arc<Stored>, Option<oneshot::Receiver<()>>), CommitError> {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        let object = state.accept(write, encode)?;
        shared.metrics.writes.inc();
        state.publish_ready(&shared.metrics);
        if state.wants_writer() {
            writer::run_inline(shared, &mut state);
            shared.work.notify_one();
        }
        let acknowledged = state.acknowledgement(object.revision);
        if state.has_lazy_backlog() {
            shared.lazy.notify_one();
        }
        if let Some(failed) = state.failure() {
            return Err(CommitError::Failed(failed));
        }
        Ok((object, acknowledged))
    }

    /// The published object.
    pub fn get(&self, table: &TableName, key: &ObjectKey) -> Option<Arc<Stored>> {
        self.0.shared.lock().table(table)?.get(key).cloned()
    }

    /// The newest state of an object, for whoever is about to write it.
    pub fn head(&self, table: &TableName, key: &ObjectKey) -> Head {
        self.0.shared.lock().head(table, key)
    }

    /// Waits until `revision` is published.
    ///
    /// # Errors
    /// The store has failed, so it never will be.
    pub async fn published(&self, revision: Revision) -> Result<(), CommitError> {
        let waiting = {
            let mut state = self.0.shared.lock();
            if revision <= state.published() {
                return Ok(());
            }
            state.acknowledgement(revision)
        };
        // There is nobody to wait for once the store has failed.
        let is_published = match waiting {
            Some(waiting) => waiting.await.is_ok(),
            None => false,
        };
        if is_published { Ok(()) } else { Err(CommitError::Failed(self.failure_text())) }
    }

    /// The published objects whose key starts with `prefix`.
    pub fn list(&self, table: &TableName, prefix: &str) -> Snapshot {
        let state = self.0.shared.lock();
        let objects = state.table(table).map(|table| table.range(prefix).cloned().collect()).unwrap_or_default();
        Snapshot { objects, revision: state.published() }
    }

    /// As [`Store::list`], as it was at `revision`.
    ///
    /// # Errors
    /// The history does not reach back that far.
    pub fn list_at(&self, table: &TableName, prefix: &str, revision: Revision) -> Result<Snapshot, Expired> {
        let state = self.0.shared.lock();
        let objects = match state.table(table) {
            None => Vec::new(),
            Some(table) => {
                table.range_at(prefix, revision).ok_or(Expired { asked: revision, oldest: table.history().floor() })?
            }
        };
        Ok(Snapshot { objects, revision })
    }

    /// How many objects a table holds.
    pub fn count(&self, table: &TableName) -> usize {
        self.0.shared.lock().table(table).map_or(0, table::Table::len)
    }

    /// The last published revision.
    pub fn revision(&self) -> Revision {
        self.0.shared.lock().published()
    }

    /// The last published revision of a table; 0 if there is no such table.
    pub fn table_revision(&self, table: &TableName) -> Revision {
        self.0.shared.lock().table(table).map(table::Table::revision).unwrap_or_default()
    }

    /// Watches a table from after `revision`.
    ///
    /// # Errors
    /// The history does not reach back that far.
    pub fn watch(&self, table: &TableName, revision: Revision) -> Result<Watcher, Expired> {
        Watcher::open(Arc::clone(&self.0.shared), table, revision)
    }

    /// The objects under `prefix` and a watch of what happens after them, without a gap.
    pub fn list_and_watch(&self, table: &TableName, prefix: &str) -> (Snapshot, Watcher) {
        Watcher::open_with_snapshot(Arc::clone(&self.0.shared), table, prefix)
    }

    /// Forgets history up to `revision`; watches and lists from before it get 410.
    pub fn compact(&self, revision: Revision) {
        self.0.shared.lock().compact(revision, &self.0.shared.metrics);
    }

    /// Waits until lazy writes wait for the journal; see [`Store::flush`].
    pub async fn lazy_backlog(&self) {
        loop {
            if self.0.shared.lock().has_lazy_backlog() {
                return;
            }
            self.0.shared.lazy.notified().await;
        }
    }

    /// Brings lazy writes to the journal now. One with an own thread does it after a while by itself.
    pub fn flush(&self) {
        let mut state = self.0.shared.lock();
        state.ask_flush();
        writer::run_inline(&self.0.shared, &mut state);
        self.0.shared.work.notify_one();
    }

    /// Whether the journal has failed, so that nothing is written any more.
    pub fn has_failed(&self) -> bool {
        self.0.shared.lock().failure().is_some()
    }

    /// Waits until the journal has failed. Pends for ever while it has not.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.0.shared.failed.subscribe();
        loop {
            if let Some(text) = failed.borrow_and_update().clone() {
                return text;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Brings everything to disk and ends the writer. Writes after it are refused.
    pub fn close(&self) {
        self.0.shared.lock().close();
        writer::run_inline(&self.0.shared, &mut self.0.shared.lock());
        self.0.join();
    }

    fn failure_text(&self) -> Arc<str> {
        self.0.shared.lock().failure().unwrap_or_else(|| "closed".into())
    }
}

impl Owner {
    fn join(&self) {
        self.shared.work.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has marked the store as failed.
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().abandon();
        self.join();
    }
}
