//! Which containers do not run as they should. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::reading::Seen;
use super::report::ContainerTrouble;
use crate::revision::resources::QUEUE_CONTAINER;

/// What is wrong with the Pods of a Revision that are not on their way out.
pub(super) fn troubles(seen: &Seen) -> Vec<ContainerTrouble> {
    let staying = seen.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying.flat_map(|pod| of_pod(pod)).collect()
}

fn of_pod(pod: &Pod) -> Vec<ContainerTrouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &pod.status else { return Vec::new() };
    let mut conditions = status.conditions.iter().flatten();
    if let Some(refused) = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    {
        let state = said("not scheduled", refused.reason.as_deref(), refused.message.as_deref());
        return vec![trouble(name, None, state)];
    }
    let statuses = || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let users: Vec<_> = statuses()
        .filter(|status| status.name != QUEUE_CONTAINER)
        .filter_map(|status| of_container(name, status))
        .collect();
    if !users.is_empty() {
        return users;
    }
    // The user's containers run. Whether the first answers, queue-proxy probes.
    let is_unready = statuses().any(|status| status.name == QUEUE_CONTAINER && !status.ready);
    let user = status.container_statuses.iter().flatten().find(|status| status.name != QUEUE_CONTAINER);
    match user.filter(|_| is_unready) {
        Some(user) => vec![trouble(name, Some(user), "running, but its readiness probe does not succeed".to_owned())],
        None => Vec::new(),
    }
}

/// What a container does instead of running; none if it runs, or has ended as init containers do.
fn of_container(pod: &str, status: &ContainerStatus) -> Option<ContainerTrouble> {
    let state = match status.state.as_ref()? {
        ContainerState { waiting: Some(waiting), .. } => {
            said("waiting", waiting.reason.as_deref(), waiting.message.as_deref())
        }
        ContainerState { terminated: Some(end), .. } if end.exit_code != 0 => {
            said(&format!("ended with code {}", end.exit_code), end.reason.as_deref(), end.message.as_deref())
        }
        ContainerState { running: Some(_), .. } if !status.ready && status.started == Some(false) => {
            "running, but its startup probe has not succeeded".to_owned()
        }
        ContainerState { running: Some(_), .. } if !status.ready => {
            "running, but its readiness probe does not succeed".to_owned()
        }
        _ => return None,
    };
    Some(trouble(pod, Some(status), state))
}

fn trouble(pod: &str, status: Option<&ContainerStatus>, state: String) -> ContainerTrouble {
    let waits = status.is_some_and(|status| status.state.as_ref().is_some_and(|state| state.waiting.is_some()));
    let last = status.and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
    ContainerTrouble {
        pod: pod.to_owned(),
        container: status.map(|status| status.name.clone()),
        state,
        restarts: status.map_or(0, |status| status.restart_count),
        last_end: last
            .map(|end| said(&format!("code {}", end.exit_code), end.reason.as_deref(), end.message.as_deref())),
        is_log_of_previous: waits && last.is_some(),
        log: Vec::new(),
    }
}

/// `what: reason: message`, as far as they say anything.
fn said(what: &str, reason: Option<&str>, message: Option<&str>) -> String {
    let parts = [Some(what), reason, message].into_iter().flatten().map(str::trim);
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}
