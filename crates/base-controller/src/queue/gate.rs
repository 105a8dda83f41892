//! Which keys wait for the caches to see which of their writes.
//!
//! A write is waited for only if an informer of the controller is sure to tell of it, and has not done so already (a write that changed
//! nothing has been seen). It is seen when the informer's revision has reached the write's, or when a list that began after the write is
//! complete; a deletion also when the object is gone, replaced or terminating.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::Written;
use crate::informer::{Progress, Sight};
use crate::key::Key;

pub(super) struct Gate {
    sights: Vec<Arc<dyn Sight>>,
    waiting: BTreeMap<Key, Vec<Expectation>>,
}

/// What a step of an informer lets go.
#[derive(Default)]
pub(super) struct Released {
    /// Keys that wait for nothing any more.
    pub(super) keys: BTreeSet<Key>,
    /// Keys of whose writes a list showed no trace: what was written has been undone since, and no event will ever tell of it.
    pub(super) missed: BTreeSet<Key>,
}

struct Expectation {
    sight: usize,
    /// How many lists the informer had begun when the write was already done.
    lists: u64,
    written: Written,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { sights: Vec::new(), waiting: BTreeMap::new() }
    }

    pub(super) fn add_sight(&mut self, sight: Arc<dyn Sight>) -> usize {
        self.sights.push(sight);
        self.sights.len() - 1
    }

    pub(super) fn sights(&self) -> &[Arc<dyn Sight>] {
        &self.sights
    }

    /// Notes what `key` wrote; true if there is something to wait for.
    pub(super) fn expect(&mut self, key: &Key, writes: Vec<Written>) -> bool {
        let mut expected = Vec::new();
        for written in writes {
            for (index, sight) in self.sights.iter().enumerate() {
                if *sight.kind() == written.kind && sight.covers(&written) && !sight.has_seen(&written) {
                    expected.push(Expectation { sight: index, lists: sight.lists(), written: written.clone() });
                }
            }
        }
        let is_waiting = !expected.is_empty();
        if is_waiting {
            self.waiting.insert(key.clone(), expected);
        }
        is_waiting
    }

    /// Drops what has been seen.
    pub(super) fn progress(&mut self, sight: usize, progress: Progress) -> Released {
        let mut released = Released::default();
        let Some(informer) = self.sights.get(sight) else { return released };
        self.waiting.retain(|key, expected| {
            expected.retain(|expectation| {
                if expectation.sight != sight {
                    return true;
                }
                let is_seen = informer.has_seen(&expectation.written);
                let is_listed = matches!(progress, Progress::Listed(list) if expectation.lists < list);
                if is_listed && !is_seen {
                    released.missed.insert(key.clone());
                }
                !is_seen && !is_listed
            });
            if expected.is_empty() {
                released.keys.insert(key.clone());
            }
            !expected.is_empty()
        });
        released
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.waiting.remove(key);
    }
}
