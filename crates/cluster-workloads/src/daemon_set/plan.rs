//! Decides the next step of a DaemonSet.

use std::sync::Arc;

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::observe::Observed;
use super::placement::{self, Place};
use super::{resources, status};
use crate::objects::labels::Matcher;
use crate::objects::revisions::{self, History, Present, REVISION_HASH};
use crate::objects::{claim, pods};

type DaemonSetPlan = Plan<Option<DaemonSetStatus>>;

/// Pods that one pass makes or deletes at most; what they wake does the rest.
const MAX_BURST: usize = 250;

/// The next step. Adoptions and releases come first and alone: the next pass sees them in the caches.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> DaemonSetPlan {
    let set = &*observed.set;
    let selector = Matcher::new(&set.spec.selector);
    if selector.is_void() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        return Plan { events: vec![PlanEvent::warning("SelectingAll", message)], ..Plan::new(None) };
    }
    let pods = claim::all(set, &selector, &observed.pods);
    let revisions = claim::all(set, &selector, &observed.revisions);
    let claims: Vec<Change> = pods.changes.into_iter().chain(revisions.changes).collect();
    if !claims.is_empty() {
        return Plan { changes: claims, ..Plan::new(None) };
    }
    // Its history may go before its Pods, so nothing can be said of it any more.
    if set.metadata.deletion_timestamp.is_some() {
        return Plan::new(None);
    }
    let history = History::new(revisions.objects);
    let Some((revision, recorded)) = present_revision(observed, &history) else {
        return Plan::new(Some(status::collided(set)));
    };
    let mut step = Step {
        set,
        observed,
        hash: revisions::label(&revision.metadata, REVISION_HASH),
        places: placement::places(set, &observed.nodes, &pods.objects),
        changes: Vec::new(),
        events: Vec::new(),
        again: None,
        now,
    };
    step.place();
    if step.changes.is_empty() {
        step.update();
        step.forget(&history, &revision, &pods.objects);
    }
    step.changes.truncate(MAX_BURST);
    step.changes.splice(..0, recorded);
    step.end()
}

/// The revision of the set's template, and what has to be written for it. None if its name is taken.
fn present_revision(observed: &Observed, history: &History) -> Option<(Arc<ControllerRevision>, Option<Change>)> {
    let set = &*observed.set;
    match history.present(&set.spec.template) {
        Present::Newest(revision) => Some((revision, None)),
        Present::Earlier(revision, renumbered) => Some((revision, Some(*renumbered))),
        Present::Unknown(_) if observed.namesake.is_some() => None,
        Present::Unknown(number) => {
            let collisions = set.status.as_ref().and_then(|status| status.collision_count);
            let made = revisions::make(set, &set.spec.template, (number, collisions), REVISION_HASH);
            let recorded = Change::create(&made);
            Some((Arc::new(made), Some(recorded)))
        }
    }
}

/// A step in the making.
pub(super) struct Step<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) observed: &'a Observed,
    /// The hash of the set's template.
    pub(super) hash: &'a str,
    pub(super) places: Vec<Place<'a>>,
    pub(super) changes: Vec<Change>,
    pub(super) events: Vec<PlanEvent>,
    again: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Step<'_> {
    /// Whether a Pod is ready, and has been for long enough.
    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        pods::available_at(pod, min_ready_s).is_some_and(|at| at <= self.now)
    }

    /// Makes a Pod for a node.
    pub(super) fn make(&mut self, index: usize) {
        let Some(place) = self.places.get(index) else { return };
        let change = Change::create(&resources::make_pod(self.set, &place.name, self.hash))
            .with_event(PlanEvent::normal("SuccessfulCreate", "Created pod: {name}"))
            .or_event(PlanEvent::warning("FailedCreate", "Error creating: {error}"));
        self.changes.push(change);
    }

    /// Deletes a Pod.
    pub(super) fn delete(&mut self, pod: &Pod) {
        let change = Change::delete(pod)
            .with_event(PlanEvent::normal("SuccessfulDelete", "Deleted pod: {name}"))
            .or_event(PlanEvent::warning("FailedDelete", "Error deleting: {error}"));
        self.changes.push(change);
    }

    pub(super) fn look_again_at(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |known| known.min(at)));
    }

    /// Deletes old revisions beyond the limit, unless a Pod is of one.
    fn forget(&mut self, history: &History, present: &ControllerRevision, pods: &[Arc<Pod>]) {
        let is_old = |revision: &ControllerRevision| revision.metadata.name != present.metadata.name;
        let is_in_use = |revision: &ControllerRevision| {
            let hash = revisions::label(&revision.metadata, REVISION_HASH);
            pods.iter().any(|pod| revisions::label(&pod.metadata, REVISION_HASH) == hash)
        };
        self.changes.extend(history.forget(self.set.spec.revision_history_limit, is_old, is_in_use));
    }

    fn end(mut self) -> DaemonSetPlan {
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        let pods = self.places.iter().flat_map(|place| &place.pods);
        let due = pods.filter_map(|pod| pods::available_at(pod, min_ready_s)).filter(|at| *at > self.now).min();
        due.into_iter().for_each(|at| self.look_again_at(at));
        let again = self.again.map(|at| at.duration_since(self.now).unsigned_abs());
        let status = status::status(&self);
        Plan { changes: self.changes, events: self.events, again, ..Plan::new(Some(status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};
    use k8s_openapi::api::core::v1::Node;

    #[test]
    fn rows() {
        Rows::load("src/daemon_set/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }

    fn planned(row: &Row) -> DaemonSetPlan {
        let set = row.one::<DaemonSet>();
        let revisions = row.all::<ControllerRevision>();
        let name = resources::revision_name(&set);
        let observed = Observed {
            pods: row.all::<Pod>(),
            namesake: revisions.iter().find(|revision| revision.metadata.name.as_ref() == Some(&name)).cloned(),
            // A revision of another owner is found by its name only.
            revisions: revisions.into_iter().filter(|revision| revision.metadata.owner_references.is_some()).collect(),
            nodes: row.all::<Node>(),
            retries: serde_json::from_value(row.config.clone()).unwrap_or_default(),
            set,
        };
        plan(&observed, row.now)
    }
}
