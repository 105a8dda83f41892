//! The conditions of a Revision from its Deployment and its Pods.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use knative_apis::serving::v1::RevisionStatus;
use knative_apis::serving::v1::revision::{
    REASON_PROGRESS_DEADLINE_EXCEEDED, container_exiting_message, exit_code_reason,
};

use super::observe::Observed;
use super::resources::{Configs, QUEUE_CONTAINER};

const SILENT_EXIT: &str = "container exited with no error";

/// Copies what the Deployment says about its progress.
pub(super) fn propagate_deployment(status: &mut RevisionStatus, deployment: &Deployment, now: Timestamp) {
    status.propagate_deployment(&deployment.status.clone().unwrap_or_default(), now);
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
    let message = exit.message.as_deref().unwrap_or_default();
    Some((exit.exit_code, if exit.exit_code == 0 && message.is_empty() { SILENT_EXIT } else { message }))
}

fn has_timed_out(deployment: &Deployment) -> bool {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        condition.type_.as_deref() == Some("Progressing")
            && condition.status.as_deref() == Some("False")
            && condition.reason.as_deref() == Some(REASON_PROGRESS_DEADLINE_EXCEEDED)
    })
}
