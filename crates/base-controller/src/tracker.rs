//! Who waits for whom: objects that keys asked to be woken for, whether those objects exist or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key::{Key, ObjectRef};

/// The references of one controller's keys.
#[derive(Debug, Default)]
pub(crate) struct Tracker(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    waiting: BTreeMap<ObjectRef, BTreeSet<Key>>,
    tracked: BTreeMap<Key, BTreeSet<ObjectRef>>,
    changes: u64,
}

/// A point in the stream of changes, taken before a key's facts are gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(u64);

impl Tracker {
    /// Where the stream of changes is now.
    pub(crate) fn now(&self) -> Since {
        Since(self.table().changes)
    }

    /// `object` changed: the keys that wait for it.
    pub(crate) fn changed(&self, object: &ObjectRef) -> BTreeSet<Key> {
        let mut table = self.table();
        table.changes += 1;
        table.waiting.get(object).cloned().unwrap_or_default()
    }

    /// Replaces what `key` waits for. True if a change may have been missed, because something tracked changed since the facts were
    /// gathered and `key` waits for an object that it did not wait for before; then the key has to look again.
    pub(crate) fn track(&self, key: &Key, objects: Vec<ObjectRef>, gathered: Since) -> bool {
        let objects: BTreeSet<ObjectRef> = objects.into_iter().collect();
        let mut table = self.table();
        let before = table.remove(key);
        let has_new = objects.difference(&before).next().is_some();
        for object in &objects {
            table.waiting.entry(object.clone()).or_default().insert(key.clone());
        }
        if !objects.is_empty() {
            table.tracked.insert(key.clone(), objects);
        }
        has_new && table.changes != gathered.0
    }

    /// `key` is gone and waits for nothing.
    pub(crate) fn forget(&self, key: &Key) {
        self.table().remove(key);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, key: &Key) -> BTreeSet<ObjectRef> {
        let objects = self.tracked.remove(key).unwrap_or_default();
        for object in &objects {
            if let Some(keys) = self.waiting.get_mut(object) {
                keys.remove(key);
                if keys.is_empty() {
                    self.waiting.remove(object);
                }
            }
        }
        objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn map(name: &str) -> ObjectRef {
        ObjectRef::new::<ConfigMap>(Key::new("n", name))
    }

    #[test]
    fn a_key_waits_for_what_its_last_plan_named() {
        let (tracker, key) = (Tracker::default(), Key::new("n", "k"));
        tracker.track(&key, vec![map("a"), map("b")], tracker.now());
        tracker.track(&key, vec![map("b")], tracker.now());
        assert!(tracker.changed(&map("a")).is_empty());
        assert_eq!(tracker.changed(&map("b")), [key.clone()].into());
        tracker.forget(&key);
        assert!(tracker.changed(&map("b")).is_empty());
        assert!(tracker.table().waiting.is_empty());
    }

    #[test]
    fn a_change_between_gathering_and_tracking_is_not_missed() {
        let (tracker, key) = (Tracker::default(), Key::new("n", "k"));
        let gathered = tracker.now();
        tracker.changed(&map("a"));
        assert!(tracker.track(&key, vec![map("a")], gathered), "it was not waited for yet");
        let gathered = tracker.now();
        tracker.changed(&map("a"));
        assert!(!tracker.track(&key, vec![map("a")], gathered), "that change woke the key already");
    }
}
