//! What makes writes durable, behind one trait: SQLite in production, memory with crash points in simulations.

pub mod memory;
pub mod sqlite;

use std::sync::Arc;

use super::key::{ObjectKey, Revision, TableName};
use super::object::Stored;

/// One write, as the journal records it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The table written to.
    pub table: TableName,
    /// The object; for a deletion its last state under the revision of the deletion.
    pub object: Arc<Stored>,
    /// Whether the object is gone.
    pub is_deletion: bool,
}

/// Writes that become durable together, in revision order.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The writes.
    pub records: &'a [Record],
    /// The high-water mark: after a restart no revision up to it is given out again.
    pub ceiling: Revision,
}

/// An object as it was found in the journal at start.
#[derive(Debug)]
pub struct Recovered {
    /// Its table.
    pub table: TableName,
    /// Its key.
    pub key: ObjectKey,
    /// The write that made it.
    pub revision: Revision,
    /// The schema that its body was shaped by.
    pub shape: u64,
    /// Its JSON text.
    pub body: Vec<u8>,
}

/// Why the journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the data open.
    #[error("{path} is in use by another process; stop it, or choose another data directory")]
    InUse {
        /// The file.
        path: String,
    },
    /// The data was written by a newer version of this program.
    #[error(
        "{path} has data version {found}, but this program knows versions up to {known}; use the newer program, or another data directory"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The file is not what this program wrote.
    #[error(
        "{path} is damaged or not a store of this program ({detail}); restore it from a copy, or choose another data directory"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// The disk refused.
    #[error("{action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A simulated crash: the process is dead from here on.
    #[error("simulated crash")]
    Crashed,
}

/// Where the writer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// In the committing task: `append` returns at once. For simulations.
    Inline,
    /// On a thread of its own: `append` waits for the disk.
    OwnThread,
}

/// A durable log of writes.
///
/// `append` is atomic: after a crash at any point either all of a batch is there or nothing of it, and everything that was appended before it.
pub trait Journal: Send {
    /// Hands every object that survived to `sink` and answers with the high-water mark (0 for a new journal).
    ///
    /// # Errors
    /// The data cannot be read, is newer, damaged or in use.
    fn load(&mut self, sink: &mut dyn FnMut(Recovered)) -> Result<Revision, JournalError>;

    /// Makes a batch durable before it returns.
    ///
    /// # Errors
    /// Nothing of the batch may be assumed durable; the journal must not be used further.
    fn append(&mut self, batch: &Batch<'_>) -> Result<(), JournalError>;

    /// Where the writer runs.
    fn threading(&self) -> Threading;
}
