//! The store's state under its one lock: tables, the queue of writes that are not yet published, and what the journal still has to write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::journal::{Journal, JournalError, Record};
use super::key::{ObjectKey, Revision, TableName};
use super::metrics::Metrics;
use super::object::{Labels, Stored};
use super::table::Table;
use super::{CommitError, Durability, Expected, Head, NewBody, Write};

/// How far the ceiling is raised above the last revision.
const LEAP: u64 = 10_000;
/// All histories together keep at most so many bytes of bodies.
const HISTORY_BUDGET: usize = 8 << 20;

pub(super) struct State {
    tables: BTreeMap<TableName, Table>,
    /// The last revision given out.
    assigned: Revision,
    published: Revision,
    /// The last revision that the journal has.
    journaled: Revision,
    /// What the journal knows as ceiling.
    ceiling: Revision,
    /// Objects with unpublished writes, at their newest.
    heads: BTreeMap<(TableName, ObjectKey), UnpublishedHead>,
    /// Accepted and not yet published, in revision order.
    unpublished: VecDeque<Unpublished>,
    /// Accepted and not yet in the journal, in revision order.
    unwritten: Vec<Record>,
    /// The last revision that has to be durable.
    must_write: Revision,
    flush_asked: bool,
    phase: Phase,
    /// The journal, if it works in the committing task.
    pub(super) inline: Option<Box<dyn Journal>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Write what is left, then end.
    Closing,
    Closed,
    Failed(Arc<str>),
}

/// The last unpublished write to an object, and the object after it.
type UnpublishedHead = (Revision, Option<Arc<Stored>>);

struct Unpublished {
    record: Record,
    durability: Durability,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the writer takes away to make durable.
pub(super) struct Work {
    pub(super) records: Vec<Record>,
    pub(super) ceiling: Revision,
    up_to: Revision,
}

impl State {
    pub(super) fn recover(journal: &mut dyn Journal) -> Result<Self, JournalError> {
        let mut found = Vec::new();
        let ceiling = journal.load(&mut |object| found.push(object))?;
        let newest = found.iter().map(|object| object.revision).max().unwrap_or_default();
        // Whatever was given out before lies at or below the ceiling; histories begin here.
        let start = ceiling.max(newest);
        let mut tables: BTreeMap<TableName, Table> = BTreeMap::new();
        for object in found {
            let table = tables.entry(object.table).or_insert_with(|| Table::new(start));
            let (labels, body) = (Labels::of_body(&object.body), kept(&object.body));
            table.restore(Stored { key: object.key, revision: object.revision, shape: object.shape, labels, body });
        }
        Ok(Self {
            tables,
            assigned: start,
            published: start,
            journaled: start,
            ceiling,
            heads: BTreeMap::new(),
            unpublished: VecDeque::new(),
            unwritten: Vec::new(),
            must_write: Revision(0),
            flush_asked: false,
            phase: Phase::Open,
            inline: None,
        })
    }

    pub(super) fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.get(name)
    }

    pub(super) fn ensure_table(&mut self, name: &TableName) -> &mut Table {
        let floor = self.published;
        self.tables.entry(name.clone()).or_insert_with(|| Table::new(floor))
    }

    pub(super) fn drop_table(&mut self, name: &TableName) {
        let is_unused = self.tables.get(name).is_some_and(|table| table.len() == 0)
            && !self.heads.keys().any(|(table, _)| table == name);
        if is_unused && let Some(table) = self.tables.remove(name) {
            table.end();
        }
    }

    pub(super) fn published(&self) -> Revision {
        self.published
    }

    pub(super) fn head(&self, table: &TableName, key: &ObjectKey) -> Head {
        match self.heads.get(&(table.clone(), key.clone())) {
            Some((revision, object)) => Head { object: object.clone(), unpublished: Some(*revision) },
            None => Head { object: self.table(table).and_then(|table| table.get(key)).cloned(), unpublished: None },
        }
    }

    /// Checks the expectation, gives out the next revision and queues the write.
    pub(super) fn accept(
        &mut self,
        write: Write,
        encode: impl FnOnce(Revision) -> NewBody,
    ) -> Result<Arc<Stored>, CommitError> {
        if self.phase != Phase::Open {
            return Err(CommitError::Failed(self.failure().unwrap_or_else(|| "closed".into())));
        }
        if !self.tables.contains_key(&write.table) {
            return Err(CommitError::NoTable);
        }
        check(write.expected, self.head(&write.table, &write.key).object.as_deref())?;
        let revision = self.assigned.next();
        let NewBody { body, labels, shape } = encode(revision);
        if body.len() > write.max_bytes {
            return Err(CommitError::TooLarge(write.max_bytes));
        }
        self.assigned = revision;
        let object = Arc::new(Stored { key: write.key, revision, shape, labels, body: kept(&body) });
        let head = (!write.is_deletion).then(|| Arc::clone(&object));
        self.heads.insert((write.table.clone(), object.key.clone()), (revision, head));
        if write.durability == Durability::Durable || revision > self.ceiling {
            self.must_write = revision;
        }
        let record = Record { table: write.table, object: Arc::clone(&object), is_deletion: write.is_deletion };
        self.unwritten.push(record.clone());
        self.unpublished.push_back(Unpublished { record, durability: write.durability, waiting: Vec::new() });
        Ok(object)
    }

    /// Publishes, in order, everything that may be seen by now.
    pub(super) fn publish_ready(&mut self, metrics: &Metrics) {
        while let Some(next) = self.unpublished.front() {
            let revision = next.record.object.revision;
            let may_be_seen = revision <= self.journaled
                || (next.durability == Durability::Lazy && revision <= self.ceiling && self.failure().is_none());
            if !may_be_seen {
                return;
            }
            if let Some(next) = self.unpublished.pop_front() {
                self.publish(next, metrics);
            }
        }
    }

    fn publish(&mut self, next: Unpublished, metrics: &Metrics) {
        let Record { table, object, is_deletion } = next.record;
        let revision = object.revision;
        let head = (table, object.key.clone());
        if self.heads.get(&head).is_some_and(|(newest, _)| *newest == revision) {
            self.heads.remove(&head);
        }
        self.published = revision;
        self.ensure_table(&head.0).publish(object, is_deletion);
        for waiting in next.waiting {
            // Whoever asked may be gone.
            let _ = waiting.send(());
        }
        self.keep_history_budget(metrics);
    }

    /// Halves the largest history when all together have grown too large.
    fn keep_history_budget(&mut self, metrics: &Metrics) {
        if self.count_history(metrics) > HISTORY_BUDGET
            && let Some(largest) = self.tables.values_mut().max_by_key(|table| table.history().bytes())
        {
            largest.halve_history();
        }
    }

    fn count_history(&self, metrics: &Metrics) -> usize {
        let total: usize = self.tables.values().map(|table| table.history().bytes()).sum();
        metrics.history_bytes.set(i64::try_from(total).unwrap_or(i64::MAX));
        total
    }

    /// A receiver that is answered when `revision` is published; `None` if it is already, or never will be.
    pub(super) fn acknowledgement(&mut self, revision: Revision) -> Option<oneshot::Receiver<()>> {
        if revision <= self.published {
            return None;
        }
        let index = self.unpublished.partition_point(|entry| entry.record.object.revision < revision);
        let entry = self.unpublished.get_mut(index)?;
        let (sender, receiver) = oneshot::channel();
        entry.waiting.push(sender);
        Some(receiver)
    }

    /// Whether the writer has something to do now.
    pub(super) fn wants_writer(&self) -> bool {
        let runs_low = self.assigned.0 + LEAP / 2 > self.ceiling.0 && !self.unwritten.is_empty();
        self.must_write > self.journaled || self.flush_asked || runs_low || self.phase != Phase::Open
    }

    pub(super) fn has_lazy_backlog(&self) -> bool {
        !self.unwritten.is_empty() && self.phase == Phase::Open
    }

    pub(super) fn ask_flush(&mut self) {
        self.flush_asked = !self.unwritten.is_empty();
    }

    /// Takes everything that the journal does not have yet.
    pub(super) fn take_work(&mut self) -> Option<Work> {
        if !matches!(self.phase, Phase::Open | Phase::Closing) {
            return None;
        }
        self.flush_asked = false;
        let ceiling = match self.phase {
            // After an orderly end nothing above the last revision has been given out, nor will be.
            Phase::Closing => self.assigned,
            _ => self.ceiling.max(Revision(self.assigned.0 + LEAP)),
        };
        if self.unwritten.is_empty() && ceiling == self.ceiling {
            return None;
        }
        Some(Work { records: std::mem::take(&mut self.unwritten), ceiling, up_to: self.assigned })
    }

    /// The journal has `work`.
    pub(super) fn written(&mut self, work: &Work, metrics: &Metrics) {
        self.journaled = work.up_to;
        self.ceiling = work.ceiling;
        self.publish_ready(metrics);
    }

    /// The journal could not write: nobody is acknowledged any more.
    pub(super) fn fail(&mut self, text: Arc<str>) {
        self.phase = Phase::Failed(text);
        self.unpublished.clear();
        self.heads.clear();
        self.unwritten.clear();
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        match &self.phase {
            Phase::Failed(text) => Some(Arc::clone(text)),
            _ => None,
        }
    }

    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// Ends at once, without writing what is left.
    pub(super) fn abandon(&mut self) {
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            self.phase = Phase::Closed;
        }
    }

    /// Whether the writer should end.
    pub(super) fn is_over(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(super) fn compact(&mut self, revision: Revision, metrics: &Metrics) {
        for table in self.tables.values_mut() {
            table.compact_history(revision);
        }
        self.count_history(metrics);
    }
}

fn check(expected: Expected, present: Option<&Stored>) -> Result<(), CommitError> {
    match (expected, present) {
        (Expected::Absent, None) => Ok(()),
        (Expected::Absent, Some(_)) => Err(CommitError::Exists),
        (Expected::At(_), None) => Err(CommitError::Missing),
        (Expected::At(revision), Some(object)) if object.revision == revision => Ok(()),
        (Expected::At(_), Some(object)) => Err(CommitError::Conflict(object.revision)),
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("published", &self.published).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// A text that is held for long, in a block of its size: the one that it was written into has grown by doubling, and an allocator leaves a
/// block as it is when its content shrinks.
fn kept(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}
