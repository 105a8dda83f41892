//! The node's process ends and another one comes: Pods do not notice.

use cluster_workloads::node::builtin::Builtins;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::harness::{IMAGE, NODE, eventually, get, ip, is_ready, run, status};

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"], "ports": [{"containerPort": 8080}],
        }],
    }})
}

#[test]
fn running_pods_are_taken_back() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        for name in ["stays", "goes"] {
            ground.create(pod(name)).await;
        }
        let before = ground.eventually("stays", "readiness", is_ready).await;
        ground.eventually("goes", "readiness", is_ready).await;
        let processes = async |node: &super::harness::Running| {
            let pods = node.sandbox.pods().await.unwrap();
            pods.into_iter()
                .flat_map(|pod| pod.containers)
                .map(|container| (container.id, container.pid))
                .collect::<Vec<_>>()
        };
        let running = processes(&node).await;
        node.stop().await;
        // While no node is there, one Pod's object vanishes.
        ground.pods().delete("goes", &DeleteParams::default().grace_period(0)).await.unwrap();
        assert_eq!(get(&ip(&before), 8080, "/"), "hello", "it answers with no node");
        let node = ground.node(Builtins::default()).await;
        let after = ground.eventually("stays", "readiness", is_ready).await;
        assert_eq!(status(&after, 0).container_id, status(&before, 0).container_id);
        assert_eq!((status(&after, 0).restart_count, ip(&after)), (0, ip(&before)));
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        let left = loop {
            let left = processes(&node).await;
            if left.len() == 1 {
                break left;
            }
            assert!(tokio::time::Instant::now() < deadline, "the pod without an object does not go");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert!(running.contains(&left[0]), "the same process");
        let logs = ground.config.logs_dir.clone();
        eventually("the end of the other's logs", || std::fs::read_dir(&logs).unwrap().count() == 1).await;
        ground.delete("stays").await;
        node.stop().await;
        ground
    });
}
