//! What a Job asks for, and what its Pods are to it.

use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::objects::pods;

/// The finalizer that keeps a Pod until its Job has counted it.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The annotation and label that say which index a Pod completes.
pub(super) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation that says how many Pods of the index failed before this one.
pub(super) const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation that says how many of them failed without that being counted.
pub(super) const INDEX_IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The name of the controller of Jobs that name none.
const CONTROLLER: &str = "kubernetes.io/job-controller";

/// Whether another controller keeps the Job.
pub(crate) fn is_managed_by_another(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_some_and(|name| name != CONTROLLER)
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

/// Whether a Pod is replaced only once it has failed, and not as soon as it is being deleted.
pub(super) fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
}

pub(super) fn parallelism(spec: &JobSpec) -> i32 {
    spec.parallelism.unwrap_or(1)
}

pub(super) fn backoff_limit(spec: &JobSpec) -> i32 {
    spec.backoff_limit.unwrap_or(6)
}

/// Whether the Job's counts wait for this Pod.
pub(crate) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

/// The index that a Pod completes, if it has one.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    annotation(pod, COMPLETION_INDEX).filter(|index| *index >= 0)
}

/// The index that a Pod completes, if it is one of the Job's.
pub(super) fn valid_index(spec: &JobSpec, pod: &Pod) -> Option<i32> {
    index(pod).filter(|index| *index < spec.completions.unwrap_or_default())
}

/// How many Pods of its index failed before this one: counted, and ignored.
pub(super) fn index_failures(pod: &Pod) -> (i32, i32) {
    let number = |name| annotation(pod, name).unwrap_or_default().max(0);
    (number(INDEX_FAILURES), number(INDEX_IGNORED_FAILURES))
}

fn annotation(pod: &Pod, name: &str) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

pub(super) fn has_succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == "Succeeded"
}

/// Whether a Pod counts as failed. One that is being deleted may never come to say so itself.
pub(super) fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    pods::phase(pod) == "Failed" || (!replaces_only_failed(spec) && pods::is_terminating(pod) && !has_succeeded(pod))
}

/// When a Pod came to its end: by its containers, else by when it ceased to be ready, or was deleted, or was made.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let unready = pods::condition(pod, pods::READY).filter(|ready| ready.status == "False");
    let unready = unready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
    let deleted = pod.metadata.deletion_timestamp.as_ref().and_then(|time| {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        time.0.checked_sub(SignedDuration::from_secs(grace)).ok()
    });
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    containers_finished_at(pod).or(unready).or(deleted).or(made)
}

/// When the last container ended; none while one may still run, or if nobody knows. Init containers end before, but for those that go along.
fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<&str> = init
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let is_sidecar = |status: &&ContainerStatus| sidecars.contains(&status.name.as_str());
    let sidecars = status.init_container_statuses.iter().flatten().filter(is_sidecar);
    let ends = status.container_statuses.iter().flatten().chain(sidecars).map(|container| {
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.and_then(|ended| ended.finished_at.as_ref()).map(|time| time.0)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}
