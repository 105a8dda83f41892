//! Probes over sockets: what makes a Pod ready, and what ends its containers.

use cluster_workloads::node::builtin::Builtins;
use serde_json::{Value, json};

use super::harness::{IMAGE, NODE, is_ready, run, status, until};

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

#[test]
fn a_service_says_by_grpc_whether_it_is_well() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let probe = |service: &str| {
            let grpc = json!({"port": 9090, "service": service});
            json!({"args": ["health", "9090"], "readinessProbe": {"grpc": grpc, "periodSeconds": 1, "failureThreshold": 1}})
        };
        for name in ["well", "ill"] {
            let mut pod = pod(name, probe(name));
            pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
            ground.create(pod).await;
        }
        ground.eventually("well", "readiness", is_ready).await;
        let said = "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")";
        until("the failure", async || ground.events("ill").await.contains(said).then_some(())).await;
        assert!(!is_ready(&ground.pods().get("ill").await.unwrap()));
        for name in ["well", "ill"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

#[test]
fn a_command_that_takes_too_long_has_failed_and_is_killed() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let exec = json!({"exec": {"command": ["/fixture", "stay"]}, "timeoutSeconds": 1, "periodSeconds": 3600, "failureThreshold": 1});
        ground.create(pod("slow", json!({"readinessProbe": exec}))).await;
        let said = "Readiness probe failed: command timed out: \"/fixture stay\" timed out after 1s";
        until("the failure", async || ground.events("slow").await.contains(said).then_some(())).await;
        // The server, and what waits for its connections.
        until("the command's end", async || {
            let (used, _) = node.sandbox.usage(&[]).await.unwrap();
            (used.first().unwrap().1.pids == Some(2)).then_some(())
        })
        .await;
        ground.delete("slow").await;
        node.stop().await;
        ground
    });
}
