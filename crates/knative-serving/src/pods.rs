//! Counting Pods, as the autoscaler counts them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

/// How many Pods of a Revision are in which state. Those that have ended are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// They take requests: running, ready, and not going.
    pub(crate) ready: i32,
    /// They do not, for whatever reason.
    pub(crate) not_ready: i32,
    /// They have not started yet.
    pub(crate) pending: i32,
    /// They are going.
    pub(crate) terminating: i32,
}

/// Counts `pods`.
pub(crate) fn counts(pods: &[Arc<Pod>]) -> Counts {
    let mut counts = Counts::default();
    for pod in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_going = pod.metadata.deletion_timestamp.is_some();
        let of = match phase {
            Some("Pending") => &mut counts.pending,
            Some("Running") if is_going => &mut counts.terminating,
            Some("Running") if is_ready(pod) => {
                counts.ready += 1;
                continue;
            }
            Some("Running") => {
                counts.not_ready += 1;
                continue;
            }
            _ => continue,
        };
        *of += 1;
        counts.not_ready += 1;
    }
    counts
}

/// How many of `pods` take requests.
pub(crate) fn ready_count(pods: &[Arc<Pod>]) -> i32 {
    counts(pods).ready
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_counted_by_state() {
        let pod = |phase: &str, ready: &str, going: Option<&str>| {
            let pod = json!({
                "metadata": {"deletionTimestamp": going},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let pods = [
            pod("Running", "True", None),
            pod("Running", "False", None),
            pod("Pending", "True", None),
            pod("Running", "True", Some("2026-11-01T12:00:00Z")),
            pod("Failed", "False", None),
        ];
        assert_eq!(counts(&pods), Counts { ready: 1, not_ready: 3, pending: 1, terminating: 1 });
        assert_eq!(ready_count(&pods), 1);
    }
}
