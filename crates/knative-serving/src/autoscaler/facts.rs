//! What was decided last for each Revision, and from what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Key;
use jiff::Timestamp;
use knative_logic::scale::Decision;
use serde::Serialize;
use serde::ser::SerializeStruct;

/// A decision and its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionFact {
    /// What was decided.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
    /// The average that it was decided from, over the stable window.
    pub stable: f64,
    /// The same over the panic window.
    pub panic: f64,
    /// How much of the metric one Pod should have.
    pub target: f64,
    /// How many Pods took requests.
    pub ready: i32,
    /// Whether a surge lasts.
    pub is_panicking: bool,
    /// Whether fewer Pods would have been wanted, if the windows had been watched for long enough.
    pub is_held: bool,
}

impl Serialize for DecisionFact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("DecisionFact", 9)?;
        fields.serialize_field("desired", &self.decision.desired)?;
        fields.serialize_field("excessBurstCapacity", &self.decision.excess_burst_capacity)?;
        fields.serialize_field("at", &self.at)?;
        fields.serialize_field("stable", &self.stable)?;
        fields.serialize_field("panic", &self.panic)?;
        fields.serialize_field("target", &self.target)?;
        fields.serialize_field("ready", &self.ready)?;
        fields.serialize_field("isPanicking", &self.is_panicking)?;
        fields.serialize_field("isHeld", &self.is_held)?;
        fields.end()
    }
}

/// The decisions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DecisionFacts(Arc<Mutex<BTreeMap<Key, DecisionFact>>>);

impl DecisionFacts {
    /// What was decided last for the Revision of this PodAutoscaler.
    pub(crate) fn get(&self, key: &Key) -> Option<DecisionFact> {
        self.table().get(key).cloned()
    }

    /// All of them, in the order of their keys.
    pub(super) fn all(&self) -> Vec<(Key, DecisionFact)> {
        self.table().iter().map(|(key, fact)| (key.clone(), fact.clone())).collect()
    }

    /// A new decision. Whether somebody has to act on it.
    pub(crate) fn set(&self, key: &Key, fact: DecisionFact) -> bool {
        let decision = fact.decision;
        let before = self.table().insert(key.clone(), fact);
        before.is_none_or(|before| decision.differs(&before.decision))
    }

    /// The Revision is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.table().remove(key);
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Key, DecisionFact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
