//! Decides the next step of a StatefulSet.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::observe::{Observed, selector};
use super::{resources, status};
use crate::objects::revisions::{self, History, REVISION_HASH};
use crate::objects::{claim, pods};

type StatefulSetPlan = Plan<Option<StatefulSetStatus>>;

/// The next step. Adoptions and releases come first and alone: the next pass sees them in the caches.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> StatefulSetPlan {
    let set = &*observed.set;
    let selector = selector(set);
    let pods = claim::all(set, &selector, &observed.pods);
    let revisions = claim::all(set, &selector, &observed.revisions);
    let claims: Vec<Change> = pods.changes.into_iter().chain(revisions.changes).collect();
    if !claims.is_empty() {
        return Plan { changes: claims, ..Plan::new(None) };
    }
    let history = History::new(revisions.objects);
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let named = (collisions, observed.namesake.is_some());
    let Some((update, recorded)) = history.record(set, &set.spec.template, named, resources::HASH) else {
        return Plan::new(Some(status::collided(set)));
    };
    let current = status::current_revision(set).and_then(|name| history.named(name)).unwrap_or(&update);
    let mut step = Step::new(observed, (current, &update), &pods.objects, now);
    if set.metadata.deletion_timestamp.is_none() {
        step.changes.extend(recorded);
        step.run();
        let is_in_use = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            [current, &update].iter().any(|live| live.metadata.name == revision.metadata.name)
                || pods.objects.iter().any(|pod| revisions::label(&pod.metadata, REVISION_HASH) == name)
        };
        let is_past = |revision: &ControllerRevision| !is_in_use(revision);
        step.changes.extend(history.forget(set.spec.revision_history_limit, is_past, |_| false));
    }
    step.end()
}

/// A step in the making.
pub(super) struct Step<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) observed: &'a Observed,
    /// The revision of Pods that are not to be updated.
    pub(super) current: &'a ControllerRevision,
    /// The revision of the set's template.
    pub(super) update: &'a ControllerRevision,
    /// The ordinals in sight that the set is to have, and their Pods as far as they are there.
    pub(super) replicas: Vec<(i32, Option<&'a Pod>)>,
    /// The Pods beyond, highest ordinal first.
    pub(super) condemned: Vec<&'a Pod>,
    pub(super) changes: Vec<Change>,
    pub(super) events: Vec<PlanEvent>,
    /// How many deletions of Pods of the current revision the step has planned.
    pub(super) leaving: i32,
    pub(super) now: Timestamp,
}

impl<'a> Step<'a> {
    fn new(
        observed: &'a Observed,
        (current, update): (&'a ControllerRevision, &'a ControllerRevision),
        pods: &'a [Arc<Pod>],
        now: Timestamp,
    ) -> Self {
        let set = &*observed.set;
        let by_ordinal: BTreeMap<i32, &Pod> =
            pods.iter().filter_map(|pod| Some((resources::ordinal_of(set, pod)?, &**pod))).collect();
        let in_sight = resources::ordinals_in_sight(set, &by_ordinal.keys().copied().collect());
        let replicas = in_sight.into_iter().map(|ordinal| (ordinal, by_ordinal.get(&ordinal).copied()));
        let ordinals = resources::ordinals(set);
        let is_beyond = |pod: &&Pod| resources::ordinal_of(set, pod).is_some_and(|own| !ordinals.contains(&own));
        let mut condemned: Vec<&Pod> = pods.iter().map(|pod| &**pod).filter(is_beyond).collect();
        condemned.sort_by_key(|pod| std::cmp::Reverse(resources::ordinal_of(set, pod)));
        Self {
            set,
            observed,
            current,
            update,
            replicas: replicas.collect(),
            condemned,
            changes: Vec::new(),
            events: Vec::new(),
            leaving: 0,
            now,
        }
    }

    /// Whether a Pod runs, is ready, and has been for long enough.
    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        pods::available_at(pod, min_ready_s).is_some_and(|at| at <= self.now)
    }

    /// Deletes a Pod.
    pub(super) fn delete(&mut self, pod: &Pod) {
        self.changes.push(told(Change::delete(pod), "Delete", self.set, pod));
    }

    fn end(self) -> StatefulSetPlan {
        let replicas = self.replicas.iter().filter_map(|(_, pod)| *pod);
        let pods: Vec<&Pod> = replicas.chain(self.condemned.iter().copied()).collect();
        let status = status::status(&self, &pods);
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        let again = pods::next_available(pods.iter().copied(), min_ready_s, self.now);
        Plan { changes: self.changes, events: self.events, again, ..Plan::new(Some(status)) }
    }
}

/// A change of a Pod, with the Events that tell of it.
pub(super) fn told(change: Change, verb: &str, set: &StatefulSet, pod: &Pod) -> Change {
    let (pod, set) = (pod.metadata.name.as_deref().unwrap_or_default(), resources::name(set));
    let what = format!("{verb} Pod {pod} in StatefulSet {set}");
    change
        .with_event(PlanEvent::normal(format!("Successful{verb}"), format!("{what} successful")))
        .or_event(PlanEvent::warning(format!("Failed{verb}"), format!("{what} failed error: {{error}}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;

    #[test]
    fn rows() {
        Rows::load("src/stateful_set/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }

    #[test]
    fn a_pass_is_bounded_however_many_are_asked_for() {
        for (policy, made) in [("OrderedReady", 1), ("Parallel", resources::MAX_BURST)] {
            let row = Row::of(vec![serde_json::json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": {"name": "web", "namespace": "n", "uid": "u"},
                "spec": {
                    "replicas": i32::MAX, "podManagementPolicy": policy, "template": {},
                    "selector": {"matchLabels": {"a": "b"}},
                },
            })]);
            let (changes, revision) = (planned(&row).changes, 1);
            assert_eq!(changes.len(), revision + made, "{policy}");
        }
    }

    fn planned(row: &Row) -> StatefulSetPlan {
        let set = row.one::<StatefulSet>();
        let claims = row.all::<PersistentVolumeClaim>().into_iter();
        let revisions = row.all::<ControllerRevision>();
        let name = resources::revision_name(&set);
        let namesake = revisions.iter().find(|revision| revision.metadata.name.as_ref() == Some(&name)).cloned();
        let mut pods = row.all::<Pod>();
        pods.retain(|pod| resources::ordinal_of(&set, pod).is_some());
        pods.sort_by_key(|pod| resources::ordinal_of(&set, pod));
        let observed = Observed {
            pods,
            namesake,
            // A revision of another owner is found by its name only.
            revisions: revisions.into_iter().filter(|revision| revision.metadata.owner_references.is_some()).collect(),
            claims: claims.map(|claim| (claim.metadata.name.clone().unwrap(), claim)).collect(),
            set,
        };
        plan(&observed, row.now)
    }
}
