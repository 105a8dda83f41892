//! Counting Pods, as the autoscaler counts them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

/// How many of `pods` take requests: running, ready, and not going.
pub(crate) fn ready_count(pods: &[Arc<Pod>]) -> i32 {
    i32::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i32::MAX)
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let has_ready_condition =
        status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    pod.metadata.deletion_timestamp.is_none() && status.phase.as_deref() == Some("Running") && has_ready_condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_that_take_requests_count() {
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
        ];
        assert_eq!(ready_count(&pods), 1);
    }
}
