//! Decides the next step of a StatefulSet.

use std::sync::Arc;

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::observe::Observed;
use super::{resources, status};
use crate::objects::labels::Matcher;
use crate::objects::revisions::{self, History, Present, REVISION_HASH};
use crate::objects::{claim, pods};

type StatefulSetPlan = Plan<Option<StatefulSetStatus>>;

/// The next step. Adoptions and releases come first and alone: the next pass sees them in the caches.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> StatefulSetPlan {
    let set = &*observed.set;
    let selector = Matcher::new(&set.spec.selector);
    let pods = claim::all(set, &selector, &observed.pods);
    let revisions = claim::all(set, &selector, &observed.revisions);
    let claims: Vec<Change> = pods.changes.into_iter().chain(revisions.changes).collect();
    if !claims.is_empty() {
        return Plan { changes: claims, ..Plan::new(None) };
    }
    let history = History::new(revisions.objects);
    let Some((update, recorded)) = update_revision(observed, &history) else {
        return Plan::new(Some(status::collided(set)));
    };
    let current = status::current_revision(set).and_then(|name| history.named(name)).unwrap_or(&update);
    let mut step = Step::new(observed, (current, &update), &pods.objects, now);
    step.changes.extend(recorded);
    if set.metadata.deletion_timestamp.is_none() {
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

/// The revision of the set's template, and what has to be written for it. None if its name is taken.
fn update_revision(observed: &Observed, history: &History) -> Option<(Arc<ControllerRevision>, Option<Change>)> {
    let set = &*observed.set;
    match history.present(&set.spec.template) {
        Present::Newest(revision) => Some((revision, None)),
        Present::Earlier(revision, renumbered) => Some((revision, Some(*renumbered))),
        Present::Unknown(_) if observed.namesake.is_some() => None,
        Present::Unknown(number) => {
            let collisions = set.status.as_ref().and_then(|status| status.collision_count);
            let made = revisions::make(set, &set.spec.template, (number, collisions), resources::HASH);
            let recorded = set.metadata.deletion_timestamp.is_none().then(|| Change::create(&made));
            Some((Arc::new(made), recorded))
        }
    }
}

/// A step in the making.
pub(super) struct Step<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) observed: &'a Observed,
    /// The revision of Pods that are not to be updated.
    pub(super) current: &'a ControllerRevision,
    /// The revision of the set's template.
    pub(super) update: &'a ControllerRevision,
    /// The Pods of the ordinals that the set is to have, as far as they are there.
    pub(super) replicas: Vec<Option<&'a Pod>>,
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
        let ordinals = resources::ordinals(set);
        let with_ordinal = |ordinal| {
            let pod = pods.iter().find(|pod| resources::ordinal_of(set, pod) == Some(ordinal));
            pod.map(|pod| &**pod)
        };
        let is_beyond = |pod: &&Pod| resources::ordinal_of(set, pod).is_some_and(|own| !ordinals.contains(&own));
        let mut condemned: Vec<&Pod> = pods.iter().map(|pod| &**pod).filter(is_beyond).collect();
        condemned.sort_by_key(|pod| std::cmp::Reverse(resources::ordinal_of(set, pod)));
        Self {
            set,
            observed,
            current,
            update,
            replicas: ordinals.map(with_ordinal).collect(),
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
        let pods: Vec<&Pod> = self.replicas.iter().flatten().copied().chain(self.condemned.iter().copied()).collect();
        let status = status::status(&self, &pods);
        let min_ready_s = self.set.spec.min_ready_seconds.unwrap_or_default();
        let due = pods.iter().filter_map(|pod| pods::available_at(pod, min_ready_s)).filter(|at| *at > self.now);
        let again = due.min().map(|at| at.duration_since(self.now).unsigned_abs());
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
