//! The node's process ends and another one comes: Pods do not notice.

use cluster_workloads::node;
use cluster_workloads::node::builtin::Builtins;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use super::harness::{Ground, IMAGE, NODE, get, ip, is_ready, run, status, until};

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"], "ports": [{"containerPort": 8080}],
        }],
    }})
}

/// What a process does before its node starts.
async fn put_back(ground: &Ground) -> usize {
    let restore = async |pod| ground.server.restore("", "pods", pod).await;
    node::put_back((&ground.spawner().await, &ground.config.volumes_dir), &ground.client(), restore).await.unwrap()
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
        assert_eq!(put_back(&ground).await, 0, "what was deleted is not lost");
        let node = ground.node(Builtins::default()).await;
        let after = ground.eventually("stays", "readiness", is_ready).await;
        assert_eq!(status(&after, 0).container_id, status(&before, 0).container_id);
        assert_eq!((status(&after, 0).restart_count, ip(&after)), (0, ip(&before)));
        let left = until("the end of the pod without an object", async || {
            let left = processes(&node).await;
            (left.len() == 1).then_some(left)
        })
        .await;
        assert!(running.contains(&left[0]), "the same process");
        let logs = ground.config.logs_dir.clone();
        until("the end of the other's logs", async || (std::fs::read_dir(&logs).unwrap().count() == 1).then_some(()))
            .await;
        ground.delete("stays").await;
        node.stop().await;
        ground
    });
}

#[test]
fn a_running_pod_whose_object_was_lost_is_put_back() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let sets: Api<ReplicaSet> = Api::namespaced(ground.client(), "default");
        let labels = json!({"app": "web"});
        let set = json!({"metadata": {"name": "web"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": IMAGE}]}},
        }});
        let set = sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();
        let mut lost = pod("web-1");
        lost["metadata"]["labels"] = labels;
        lost["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": set.metadata.uid, "controller": true,
        }]);
        ground.create(lost).await;
        let before = ground.eventually("web-1", "readiness", is_ready).await;
        node.stop().await;
        // As a crash does that comes before the store has flushed.
        ground.pods().delete("web-1", &DeleteParams::default().grace_period(0)).await.unwrap();
        assert_eq!(put_back(&ground).await, 1);
        let back = ground.pods().get("web-1").await.unwrap();
        assert_eq!((&back.metadata.uid, &back.metadata.labels), (&before.metadata.uid, &before.metadata.labels));
        assert_eq!(sets.get("web").await.unwrap().spec.replicas, Some(1), "it is no surplus");
        assert_eq!(put_back(&ground).await, 0, "it is there");
        let node = ground.node(Builtins::default()).await;
        let after = ground.eventually("web-1", "readiness", is_ready).await;
        assert_eq!(status(&after, 0).container_id, status(&before, 0).container_id);
        assert_eq!((status(&after, 0).restart_count, ip(&after)), (0, ip(&before)));
        ground.delete("web-1").await;
        node.stop().await;
        ground
    });
}

#[test]
fn what_may_not_run_again_has_ended_with_its_sandbox() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        for policy in ["Never", "Always"] {
            let mut pod = pod(&policy.to_lowercase());
            pod["spec"]["restartPolicy"] = policy.into();
            ground.create(pod).await;
            ground.eventually(&policy.to_lowercase(), "readiness", is_ready).await;
        }
        node.stop().await;
        // As `down` does, or the spawner's death.
        let spawner = ground.spawner().await;
        for pod in spawner.pods().await.unwrap() {
            spawner.remove_pod(&pod.id).await.unwrap();
        }
        let node = ground.node(Builtins::default()).await;
        let again =
            ground.eventually("always", "another run", |pod| is_ready(pod) && status(pod, 0).restart_count == 1).await;
        let lost = status(&again, 0).last_state.unwrap().terminated.unwrap();
        assert_eq!((lost.exit_code, lost.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
        let is_failed =
            |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Failed");
        let never = ground.eventually("never", "its end", is_failed).await;
        let end = status(&never, 0).state.unwrap().terminated.unwrap();
        assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
        assert_eq!(status(&never, 0).restart_count, 0);
        for name in ["always", "never"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}
