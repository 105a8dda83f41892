//! Owners that the server was asked for and does not have. A uid that is gone is gone for ever, so this never becomes wrong.

use std::collections::{BTreeSet, VecDeque};

use super::graph::Missing;

/// Absences that are remembered; beyond that, the server is asked again.
const MAX_REMEMBERED: usize = 4096;

/// The absent owners, latest last.
#[derive(Debug, Default)]
pub(super) struct Absent {
    known: BTreeSet<Missing>,
    order: VecDeque<Missing>,
}

impl Absent {
    pub(super) fn has(&self, owner: &Missing) -> bool {
        self.known.contains(owner)
    }

    pub(super) fn add(&mut self, owner: Missing) {
        if !self.known.insert(owner.clone()) {
            return;
        }
        self.order.push_back(owner);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
