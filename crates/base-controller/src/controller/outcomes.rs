//! What became of each key the last time: for `explain`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base_rt::Timestamp;
use serde::Serialize;

use crate::apply::Refused;
use crate::key::Key;

/// Keys that are remembered at most; what comes beyond is not.
const MAX_KEYS: usize = 100_000;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastOutcome {
    pub(super) at: Timestamp,
    pub(super) outcome: String,
    pub(super) writes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
}

#[derive(Debug, Default)]
pub(super) struct Outcomes(Mutex<BTreeMap<Key, LastOutcome>>);

impl Outcomes {
    pub(super) fn set(&self, key: &Key, outcome: LastOutcome) {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() < MAX_KEYS || outcomes.contains_key(key) {
            outcomes.insert(key.clone(), outcome);
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<LastOutcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
