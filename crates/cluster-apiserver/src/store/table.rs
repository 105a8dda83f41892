//! One table: the published objects of a resource in key order, its history, and the signal that wakes its watches.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use base_rt::watch;

use super::history::History;
use super::key::{ObjectKey, Revision};
use super::object::{Change, Event, Stored};

#[derive(Debug)]
pub(super) struct Table {
    objects: BTreeMap<ObjectKey, Arc<Stored>>,
    history: History,
    published: watch::Sender<Revision>,
    /// The history once the table is gone, for watches that have not read all of it.
    ended: Arc<OnceLock<History>>,
}

impl Table {
    pub(super) fn new(floor: Revision) -> Self {
        let published = watch::Sender::new(floor);
        Self { objects: BTreeMap::new(), history: History::new(floor), published, ended: Arc::default() }
    }

    /// Puts an object that was recovered from the journal; no event.
    pub(super) fn restore(&mut self, object: Stored) {
        self.objects.insert(object.key.clone(), Arc::new(object));
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn halve_history(&mut self) {
        self.history.halve();
    }

    pub(super) fn compact_history(&mut self, revision: Revision) {
        self.history.compact(revision);
    }

    /// The revision of the last write to it.
    pub(super) fn revision(&self) -> Revision {
        *self.published.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.published.subscribe()
    }

    /// What watches read the table's last events from when it is gone.
    pub(super) fn ended(&self) -> Arc<OnceLock<History>> {
        Arc::clone(&self.ended)
    }

    /// Ends the table and wakes its watches, for the last time.
    pub(super) fn end(self) {
        // A table ends once.
        let _ = self.ended.set(self.history);
        self.published.send_modify(|_| {});
    }

    /// Makes a committed write visible.
    pub(super) fn publish(&mut self, object: Arc<Stored>, deleted: bool) {
        let revision = object.revision;
        let previous = if deleted {
            self.objects.remove(&object.key)
        } else {
            self.objects.insert(object.key.clone(), Arc::clone(&object))
        };
        let change = match (deleted, &previous) {
            (true, _) => Change::Deleted,
            (false, None) => Change::Added,
            (false, Some(_)) => Change::Modified,
        };
        self.history.push(Event { change, object, previous });
        self.published.send_replace(revision);
    }

    /// The published objects whose key starts with `prefix`, in key order.
    pub(super) fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Stored>> {
        self.objects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
            .map(|(_, object)| object)
    }

    /// As [`Table::range`], but as it was at `revision`; `None` if the history does not reach back that far.
    pub(super) fn range_at(&self, prefix: &str, revision: Revision) -> Option<Vec<Arc<Stored>>> {
        // What each key touched since then held at that revision: the `previous` of the first event after it.
        let mut then: BTreeMap<&str, Option<&Arc<Stored>>> = BTreeMap::new();
        for event in self.history.after(revision)? {
            if event.object.key.as_str().starts_with(prefix) {
                then.entry(event.object.key.as_str()).or_insert(event.previous.as_ref());
            }
        }
        let untouched = self.range(prefix).filter(|object| !then.contains_key(object.key.as_str()));
        let mut objects: Vec<_> = untouched.chain(then.values().copied().flatten()).cloned().collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Some(objects)
    }
}
