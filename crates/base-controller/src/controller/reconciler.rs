//! What one writes for a kind: [`Reconciler`].

use std::sync::Arc;

use base_rt::Timestamp;
use serde::Serialize;

use crate::key::Key;
use crate::object::Object;
use crate::plan::{Condition, Plan};
use crate::writers::Write;

/// Keeps the objects of one kind true: gathers facts from caches, and plans, purely, what has to be done.
///
/// Both functions are synchronous and quick. Effects other than objects (a probe, a scrape) belong to small services that write facts into
/// a cache and wake keys.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind that is kept true.
    type Object: Object;
    /// Everything that a decision may look at, read once. It is printed by `explain`.
    type Observed: Serialize + Send + Sync;
    /// The kind's status; `()` if none is written.
    type Status: Serialize + Send + Sync;

    /// Every kind and field that plans may write. A change of a kind that is not listed is refused.
    const WRITES: &'static [Write];

    /// Reads the caches. None if there is nothing to keep true under this key (any more): then everything about the key is forgotten.
    fn gather(&self, key: &Key) -> Option<Self::Observed>;

    /// The object itself, as gathered: where status, finalizer and events go. None if a plan is only about other objects.
    fn object<'a>(&self, observed: &'a Self::Observed) -> Option<&'a Arc<Self::Object>>;

    /// Decides. Total and pure: what depends on time depends on `now`.
    fn plan(&self, observed: &Self::Observed, now: Timestamp) -> Plan<Self::Status>;

    /// Sets the condition of a change that was refused, and what follows from it (Ready). Only called for changes that carry a condition.
    fn mark_refused(&self, status: &mut Self::Status, condition: &Condition, now: Timestamp) {
        let _ = (status, condition, now);
    }
}
