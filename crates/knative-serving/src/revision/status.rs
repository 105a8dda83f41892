//! The conditions of a Revision from its Deployment and its Pods.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use knative_apis::condition::{Condition, ConditionedStatus};
use knative_apis::serving::v1::RevisionStatus;
use knative_apis::serving::v1::revision::{
    REASON_DEPLOYING, REASON_PROGRESS_DEADLINE_EXCEEDED, RESOURCES_AVAILABLE, container_exiting_message,
    exit_code_reason,
};

use super::observe::Observed;
use super::resources::{Configs, QUEUE_CONTAINER};

const SILENT_EXIT: &str = "container exited with no error";
const OUT_OF_MEMORY: &str = "OOMKilled";
/// The reason of an end that nobody saw: the node or the machine was restarted.
const UNSEEN_END: &str = "ContainerStatusUnknown";
/// What containers wait for in any start.
const USUAL_WAITS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Copies what the Deployment says about its progress.
pub(super) fn propagate_deployment(status: &mut RevisionStatus, deployment: &Deployment, now: Timestamp) {
    status.propagate_deployment(&deployment.status.clone().unwrap_or_default(), now);
}

/// Once the Deployment that failed is scaled to zero, its Pod is gone, and what is left is that it took too long: why stays known from `before`.
pub(super) fn keep_cause(status: &mut RevisionStatus, before: &RevisionStatus, now: Timestamp) {
    let failure = |status: &RevisionStatus| status.condition(RESOURCES_AVAILABLE).filter(|c| c.is_false()).cloned();
    let says_when = |condition: &Condition| condition.reason == REASON_PROGRESS_DEADLINE_EXCEEDED;
    if let (Some(present), Some(known)) = (failure(status), failure(before))
        && says_when(&present)
        && !says_when(&known)
    {
        status.mark_resources_unavailable(&known.reason, &known.message, now);
    }
}

/// While the Pods are on their way: what one of their containers waits for, if that is not usual.
pub(super) fn explain(status: &mut RevisionStatus, pod: Option<&Pod>, now: Timestamp) {
    let condition = status.condition(RESOURCES_AVAILABLE);
    if !condition.is_some_and(|condition| condition.is_unknown() && condition.reason == REASON_DEPLOYING) {
        return;
    }
    let statuses = pod.and_then(|pod| pod.status.as_ref());
    let containers = statuses.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    for waiting in waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if !USUAL_WAITS.contains(&reason) {
            let message = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
            return status.mark_resources_unknown(REASON_DEPLOYING, &message, now);
        }
    }
}

/// Looks at a Pod while none is available although some are wanted: why is that?
pub(super) fn diagnose(status: &mut RevisionStatus, observed: &Observed, configs: &Configs, now: Timestamp) {
    let Some(deployment) = observed.deployment.as_deref() else { return };
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let counts = deployment.status.as_ref();
    let available = counts.and_then(|counts| counts.available_replicas).unwrap_or_default();
    if let Some(pod) = observed.pod.as_deref().filter(|_| replicas > 0 && available == 0) {
        if !configs.deployment.pod_is_always_schedulable {
            look_at_scheduling(status, pod, now);
        }
        look_at_containers(status, pod, has_timed_out(deployment), now);
    }
    if counts.and_then(|counts| counts.ready_replicas).unwrap_or_default() > 0 {
        status.mark_container_healthy(now);
    }
}

fn look_at_scheduling(status: &mut RevisionStatus, pod: &Pod, now: Timestamp) {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut refused = conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = refused.next() {
        let reason = condition.reason.as_deref().unwrap_or_default();
        status.mark_resources_unavailable(reason, condition.message.as_deref().unwrap_or_default(), now);
    }
}

/// The first user's container that exited, or (once the Deployment gave up) that waits, says why.
fn look_at_containers(status: &mut RevisionStatus, pod: &Pod, has_timed_out: bool, now: Timestamp) {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    for container in containers.filter(|container| container.name != QUEUE_CONTAINER) {
        if let Some((exit_code, message)) = last_exit(container) {
            status.mark_container_unhealthy(&exit_code_reason(exit_code), &container_exiting_message(message), now);
            return;
        }
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        if let Some(waiting) = waiting.filter(|_| has_timed_out) {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            status.mark_resources_unavailable(reason, waiting.message.as_deref().unwrap_or_default(), now);
            return;
        }
    }
}

fn last_exit(container: &ContainerStatus) -> Option<(i32, &str)> {
    let exit = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = exit.reason.as_deref().unwrap_or_default();
    if reason == UNSEEN_END {
        return None;
    }
    let message = match exit.message.as_deref().unwrap_or_default() {
        "" if exit.exit_code == 0 => SILENT_EXIT,
        "" if reason == OUT_OF_MEMORY => OUT_OF_MEMORY,
        message => message,
    };
    Some((exit.exit_code, message))
}

fn has_timed_out(deployment: &Deployment) -> bool {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        condition.type_.as_deref() == Some("Progressing")
            && condition.status.as_deref() == Some("False")
            && condition.reason.as_deref() == Some(REASON_PROGRESS_DEADLINE_EXCEEDED)
    })
}
