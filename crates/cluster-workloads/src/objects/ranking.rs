//! Which Pods their controller can best do without.
//!
//! In this order, as in Kubernetes: not bound before bound; Pending, then Unknown, then Running; not ready before ready; the lower
//! `controller.kubernetes.io/pod-deletion-cost`; ready for a shorter time; more restarts; younger. Times are compared by the order of
//! magnitude of the age, so that equally old Pods go in no particular order (here: by uid) and not always the newest. How many related Pods share
//! a node says nothing on a machine that is the only node.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use base_rt::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::objects::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The Pods, least useful first.
pub(crate) fn least_useful<'a>(active: &[&'a Arc<Pod>], now: Timestamp) -> Vec<&'a Arc<Pod>> {
    let mut ranked = active.to_vec();
    ranked.sort_by(|a, b| compare(a, b, now));
    ranked
}

fn compare(a: &Pod, b: &Pod, now: Timestamp) -> Ordering {
    let ages = |of: fn(&Pod) -> Option<Timestamp>| magnitude(of(a), now).cmp(&magnitude(of(b), now));
    pods::node_name(a)
        .is_some()
        .cmp(&pods::node_name(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| ages(pods::ready_since))
        .then_with(|| Reverse(pods::restarts(a)).cmp(&Reverse(pods::restarts(b))))
        .then_with(|| ages(created))
        .then_with(|| (&a.metadata.uid, &a.metadata.name).cmp(&(&b.metadata.uid, &b.metadata.name)))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The number of binary digits of the age in nanoseconds; 0 if there is no time.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let Some(since) = since else { return 0 };
    let age_ns = now.duration_since(since).as_nanos().max(1);
    i128::BITS - age_ns.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn pod(name: &str, patch: Value) -> Arc<Pod> {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let base = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "conditions": ready},
        });
        Arc::new(serde_json::from_value(base_controller::overlay::overlay(&base, &patch)).unwrap())
    }

    fn goes_before(first: Value, second: Value) {
        let (a, b) = (pod("a", first.clone()), pod("b", second.clone()));
        let now = NOW.parse().unwrap();
        assert_eq!(compare(&a, &b, now), Ordering::Less, "{first} before {second}");
        assert_eq!(compare(&b, &a, now), Ordering::Greater);
        assert_eq!(least_useful(&[&b, &a], now)[0].metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn the_order_of_deletions() {
        let plain = || json!({});
        let ready_at = |at: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}]}});
        goes_before(json!({"spec": {"nodeName": null}}), json!({"status": {"phase": "Pending"}}));
        goes_before(json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}}));
        goes_before(json!({"status": {"phase": "Unknown"}}), plain());
        goes_before(json!({"status": {"conditions": null}}), plain());
        goes_before(plain(), json!({"metadata": {"annotations": {DELETION_COST: "10"}}}));
        goes_before(json!({"metadata": {"annotations": {DELETION_COST: "-1"}}}), ready_at("2026-01-01T00:59:59Z"));
        goes_before(ready_at("2026-01-01T00:59:00Z"), plain());
        let restarts = json!({"status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3},
        ]}});
        goes_before(restarts, plain());
        goes_before(json!({"metadata": {"creationTimestamp": "2026-01-01T00:59:30Z"}}), plain());
        goes_before(plain(), plain());
    }
}
