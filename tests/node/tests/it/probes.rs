//! Probes over sockets: what makes a Pod ready, and what ends its containers.

use cluster_workloads::node::builtin::Builtins;
use serde_json::{Value, json};

use super::harness::{IMAGE, NODE, is_ready, run, status};

fn pod(name: &str, probes: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"]});
    container.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 30, "containers": [container],
    }})
}

#[test]
fn a_port_that_listens_makes_ready() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        // The period is longer than the test may take: it is the port that tells.
        let probe = |port: u16| json!({"readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 3600}});
        ground.create(pod("listens", probe(8080))).await;
        ground.create(pod("silent", probe(8081))).await;
        ground.eventually("listens", "readiness", is_ready).await;
        let is_running =
            |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running");
        let silent = ground.eventually("silent", "its run", is_running).await;
        assert!(!is_ready(&silent));
        for name in ["listens", "silent"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

#[test]
fn a_container_that_does_not_live_is_asked_to_end_and_runs_again() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let probe = json!({"tcpSocket": {"port": 8081}, "periodSeconds": 1, "failureThreshold": 1});
        ground.create(pod("ill", json!({"livenessProbe": probe}))).await;
        let has_restarted = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some())
                && status(pod, 0).restart_count > 0
        };
        let again = ground.eventually("ill", "another run", has_restarted).await;
        let end = status(&again, 0).last_state.unwrap().terminated.unwrap();
        assert_eq!((end.exit_code, end.reason.as_deref()), (0, Some("Completed")), "it heard SIGTERM");
        ground.delete("ill").await;
        node.stop().await;
        ground
    });
}
