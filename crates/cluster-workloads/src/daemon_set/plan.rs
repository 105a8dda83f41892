//! Decides the next step of a DaemonSet.

use std::sync::Arc;
use std::time::Duration;

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::observe::{Observed, selector};
use super::placement::{self, Place};
use super::{resources, status};
use crate::objects::revisions::{self, History, REVISION_HASH};
use crate::objects::{claim, pods};

type DaemonSetPlan = Plan<Option<DaemonSetStatus>>;

/// Pods that one pass makes or deletes at most; what they wake does the rest.
const MAX_BURST: usize = 250;

/// The next step. Adoptions and releases come first and alone: the next pass sees them in the caches.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> DaemonSetPlan {
    let set = &*observed.set;
    let selector = selector(set);
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
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let named = (collisions, observed.namesake.is_some());
    let Some((revision, recorded)) = history.record(set, &set.spec.template, named, REVISION_HASH) else {
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

/// A step in the making.
pub(super) struct Step<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) observed: &'a Observed,
    /// The hash of the set's template.
    pub(super) hash: &'a str,
    pub(super) places: Vec<Place<'a>>,
    pub(super) changes: Vec<Change>,
    pub(super) events: Vec<PlanEvent>,
    again: Option<Duration>,
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
        self.changes.push(pods::creation(&resources::make_pod(self.set, &place.name, self.hash)));
    }

    /// Deletes a Pod.
    pub(super) fn delete(&mut self, pod: &Pod) {
        self.changes.push(pods::deletion(pod));
    }

    pub(super) fn look_again_at(&mut self, at: Timestamp) {
        let wait = at.duration_since(self.now).unsigned_abs();
        self.again = self.again.into_iter().chain([wait]).min();
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

    fn end(self) -> DaemonSetPlan {
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        let pods = self.places.iter().flat_map(|place| &place.pods);
        let available = pods::next_available(pods.copied(), min_ready_s, self.now);
        let again = self.again.into_iter().chain(available).min();
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
