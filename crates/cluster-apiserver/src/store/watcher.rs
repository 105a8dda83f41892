//! A watch of one table: a cursor into its history.

use std::sync::{Arc, OnceLock};

use base_rt::watch;

use super::history::History;
use super::key::{Revision, TableName};
use super::object::Event;
use super::state::State;
use super::table::Table;
use super::{Shared, Snapshot};

/// At most so many events are read at a time, so that the lock is held briefly.
const MAX_BATCH: usize = 256;

/// The history does not reach back to where a watch or a list wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// Where it wanted to begin.
    pub asked: Revision,
    /// The oldest revision from which it could.
    pub oldest: Revision,
}

/// What a watch has learned.
#[derive(Debug)]
pub struct Progress {
    /// Events, in revision order; perhaps none.
    pub events: Vec<Event>,
    /// Every event of the table up to this revision has been delivered once `events` is.
    pub revision: Revision,
}

/// A watch. It holds no events: falling behind costs the store nothing.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    table: TableName,
    cursor: Revision,
    published: watch::Receiver<Revision>,
    /// The table's history, when it is gone.
    ended: Arc<OnceLock<History>>,
}

impl Watcher {
    pub(super) fn open(shared: Arc<Shared>, table: &TableName, revision: Revision) -> Result<Self, Expired> {
        let mut state = shared.lock();
        let oldest = state.ensure_table(table).history().floor();
        if revision < oldest {
            return Err(Expired { asked: revision, oldest });
        }
        let watcher = Self::at(&shared, &mut state, table, revision);
        drop(state);
        Ok(watcher)
    }

    pub(super) fn open_with_snapshot(shared: Arc<Shared>, table: &TableName, prefix: &str) -> (Snapshot, Self) {
        let mut state = shared.lock();
        let objects = state.ensure_table(table).range(prefix).cloned().collect();
        let revision = state.published();
        let watcher = Self::at(&shared, &mut state, table, revision);
        drop(state);
        (Snapshot { objects, revision }, watcher)
    }

    fn at(shared: &Arc<Shared>, state: &mut State, table: &TableName, cursor: Revision) -> Self {
        shared.metrics.watchers.inc();
        let found = state.ensure_table(table);
        let (published, ended) = (found.subscribe(), found.ended());
        Self { shared: Arc::clone(shared), table: table.clone(), cursor, published, ended }
    }

    /// Waits until something may have happened to the table. `false` if the table is gone and its end has been told. Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        self.published.changed().await.is_ok()
    }

    /// Takes the next events without waiting; asks again at once if there are many.
    ///
    /// # Errors
    /// The watch has fallen behind the history.
    pub fn poll(&mut self) -> Result<Progress, Expired> {
        self.published.mark_unchanged();
        let state = self.shared.lock();
        // A table of the same name may be there again; this watch is not of that one.
        let Some(history) = self.ended.get().or_else(|| state.table(&self.table).map(Table::history)) else {
            return Ok(Progress { events: Vec::new(), revision: self.cursor });
        };
        let Some(newer) = history.after(self.cursor) else {
            self.shared.metrics.watchers_expired.inc();
            return Err(Expired { asked: self.cursor, oldest: history.floor() });
        };
        let events: Vec<Event> = newer.take(MAX_BATCH).cloned().collect();
        let revision = match events.last() {
            Some(last) if events.len() == MAX_BATCH => last.revision(),
            // A watch from a future revision stays there.
            _ => state.published().max(self.cursor),
        };
        drop(state);
        if events.len() == MAX_BATCH {
            self.published.mark_changed();
        }
        self.cursor = revision;
        Ok(Progress { events, revision })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.metrics.watchers.dec();
    }
}
