//! A StatefulSet's status: counts of the Pods that the cache shows, and the names of its revisions.
//!
//! Counts of zero are left out, but for `replicas`, `availableReplicas` and `collisionCount`. The update revision becomes the current one when
//! all replicas have it and are ready.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::plan::Step;
use super::resources;
use crate::objects::pods;
use crate::objects::revisions::{self, REVISION_HASH};

/// The name of the revision that the set's Pods had before an update; none before the first status.
pub(super) fn current_revision(set: &StatefulSet) -> Option<&str> {
    set.status.as_ref()?.current_revision.as_deref()
}

/// The status after another object was found to have the name of the revision: the next hash will be another one.
pub(super) fn collided(set: &StatefulSet) -> StatefulSetStatus {
    let mut status = set.status.clone().unwrap_or_default();
    status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
    status
}

/// The status that these Pods make.
pub(super) fn status(step: &Step<'_>, pods: &[&Pod]) -> StatefulSetStatus {
    let set = step.set;
    let count = |is_counted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| is_counted(pod)).count()).unwrap_or(i32::MAX)
    };
    let is_ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let has = |revision: &Option<String>| {
        let revision = revision.as_deref();
        count(&|pod| !pods::is_terminating(pod) && Some(revisions::label(&pod.metadata, REVISION_HASH)) == revision)
    };
    let (replicas, ready) = (count(&|_| true), count(&is_ready));
    let updated = has(&step.update.metadata.name);
    let wanted = resources::replicas(set);
    let is_complete = [updated, ready, replicas] == [wanted; 3];
    let (current, current_revision) = match is_complete {
        true => (updated, &step.update.metadata.name),
        false => (has(&step.current.metadata.name) - step.leaving, &step.current.metadata.name),
    };
    let unless_zero = |count: i32| (count != 0).then_some(count);
    let before = set.status.as_ref();
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas,
        ready_replicas: unless_zero(ready),
        available_replicas: Some(count(&|pod| is_ready(pod) && step.is_available(pod))),
        current_replicas: unless_zero(current.max(0)),
        updated_replicas: unless_zero(updated),
        current_revision: current_revision.clone(),
        update_revision: step.update.metadata.name.clone(),
        collision_count: Some(before.and_then(|status| status.collision_count).unwrap_or_default()),
        conditions: before.and_then(|status| status.conditions.clone()),
    }
}
