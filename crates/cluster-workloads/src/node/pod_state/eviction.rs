//! The end of a Pod that is not deleted: it was evicted, or active for as long as it may be.

use std::time::Duration;

use base_controller::PlanEvent;
use base_rt::Timestamp;

use super::{Action, Cell, LOST_ENDED, Phase, PodState, unknown_end};

/// The reason of a Pod that this node has ended for its own sake.
const EVICTED: &str = "Evicted";
/// How long its containers have; as the kubelet has it.
const EVICTION_GRACE: Duration = Duration::from_secs(1);
/// The reason of a Pod that was active for longer than it may.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Why a Pod has to end that is not deleted, and fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// In one word, as its status says it.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// How long its containers have.
    grace: Duration,
}

impl Eviction {
    /// As a status tells it.
    pub(crate) fn told(reason: &str, message: &str) -> Option<Self> {
        let reason = [EVICTED, DEADLINE_EXCEEDED].into_iter().find(|known| *known == reason)?;
        Some(Self { reason, message: message.to_owned(), grace: EVICTION_GRACE })
    }
}

impl PodState {
    /// When it will have been active for as long as it may, if it is to run on.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let deadline = self.facts.deadline.filter(|_| !self.is_ending() && !self.is_finished())?;
        self.started_at.checked_add(deadline).ok()
    }

    /// Whether nothing of it is to run any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.deletion.is_some() || self.eviction.is_some()
    }

    /// How long its containers have, if nothing of it is to run any more.
    pub(super) fn ending_grace(&self) -> Option<Duration> {
        let evicted = self.eviction.as_ref().map(|eviction| eviction.grace);
        self.deletion.into_iter().chain(evicted).min()
    }

    /// Why it was evicted, once nothing of it runs any more.
    pub(crate) fn evicted(&self) -> Option<&Eviction> {
        self.eviction.as_ref().filter(|_| !self.cells.iter().any(Cell::is_alive))
    }

    pub(super) fn evict(&mut self, why: String, actions: &mut Vec<Action>) {
        if self.is_ending() || self.is_finished() {
            return;
        }
        actions.push(Action::Tell { at: None, event: PlanEvent::warning(EVICTED, why.clone()) });
        self.eviction = Some(Eviction { reason: EVICTED, message: why, grace: EVICTION_GRACE });
    }

    /// Ends a Pod whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        actions.push(Action::Tell { at: None, event: PlanEvent::normal(DEADLINE_EXCEEDED, message.clone()) });
        self.eviction = Some(Eviction { reason: DEADLINE_EXCEEDED, message, grace: self.facts.grace });
    }

    /// Containers of an evicted Pod that do not run have ended: nobody will start them.
    pub(super) fn end_unrun(&mut self, now: Timestamp) {
        if self.evicted().is_none() {
            return;
        }
        for cell in self.cells.iter_mut().filter(|cell| matches!(cell.phase, Phase::Waiting { .. })) {
            cell.phase = Phase::Ended(unknown_end(now, LOST_ENDED));
        }
    }
}
