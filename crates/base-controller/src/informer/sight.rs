//! What a controller needs to know of an informer, whatever its kind, to wait until the cache has seen a write.

use std::sync::atomic::Ordering;

use base_rt::watch as level;

use super::Informer;
use crate::apply::Written;
use crate::key::GroupKind;
use crate::object::Object;

/// What an informer tells after each event, once cache and subscribers have it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// An object, and with it a revision.
    Object,
    /// The list with this number is complete: whatever was written before it began has been seen.
    Listed(u64),
}

/// An informer without its type.
pub(crate) trait Sight: Send + Sync {
    fn kind(&self) -> &GroupKind;
    /// Whether the watch is sure to tell of this write.
    fn covers(&self, written: &Written) -> bool;
    /// Whether the cache already shows this write, or something later.
    fn has_seen(&self, written: &Written) -> bool;
    /// How many lists have begun.
    fn lists(&self) -> u64;
    fn synced(&self) -> level::Receiver<bool>;
}

impl<K: Object> Sight for Informer<K> {
    fn kind(&self) -> &GroupKind {
        &self.shared.kind
    }

    fn covers(&self, written: &Written) -> bool {
        self.shared.scope.covers(&written.meta) || self.get(&written.key).is_some()
    }

    fn has_seen(&self, written: &Written) -> bool {
        match written.revision {
            Some(revision) => self.seen() >= revision,
            // A deletion may come back without a revision; the object itself tells.
            None => self.get(&written.key).is_none_or(|object| {
                object.meta().deletion_timestamp.is_some() || object.meta().uid != written.meta.uid
            }),
        }
    }

    fn lists(&self) -> u64 {
        self.shared.lists.load(Ordering::Acquire)
    }

    fn synced(&self) -> level::Receiver<bool> {
        self.shared.synced.subscribe()
    }
}
