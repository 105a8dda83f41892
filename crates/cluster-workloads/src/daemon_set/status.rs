//! A DaemonSet's status: how many nodes are to have a Pod, have one, and how it is.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::placement::Place;
use super::plan::Step;
use super::resources;
use crate::objects::pods;

/// The status after another object was found to have the name of the revision: the next hash will be another one.
pub(super) fn collided(set: &DaemonSet) -> DaemonSetStatus {
    let mut status = set.status.clone().unwrap_or_default();
    status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
    status
}

/// The status that the Pods which the cache shows make. The first Pod of each node counts. Some counts of zero are left out.
pub(super) fn status(step: &Step<'_>) -> DaemonSetStatus {
    let count = |is_counted: &dyn Fn(&Place<'_>) -> bool| {
        i32::try_from(step.places.iter().filter(|place| is_counted(place)).count()).unwrap_or(i32::MAX)
    };
    let counted = |is_counted: &dyn Fn(&Pod) -> bool| {
        count(&|place| place.should_run && place.pods.first().is_some_and(|pod| is_counted(pod)))
    };
    let unless_zero = |count: i32| (count != 0).then_some(count);
    let desired = count(&|place| place.should_run);
    let available = counted(&|pod| step.is_available(pod));
    let before = step.set.status.as_ref();
    DaemonSetStatus {
        observed_generation: step.set.metadata.generation,
        desired_number_scheduled: desired,
        current_number_scheduled: counted(&|_| true),
        number_misscheduled: count(&|place| !place.should_run && place.is_there && !place.pods.is_empty()),
        number_ready: counted(&pods::is_ready),
        number_available: unless_zero(available),
        number_unavailable: unless_zero(desired - available),
        updated_number_scheduled: unless_zero(counted(&|pod| resources::is_updated(step.set, pod, step.hash))),
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
    }
}
