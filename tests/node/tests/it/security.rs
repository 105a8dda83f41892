//! As whom containers run, within which memory, and how they end that do not want to.

use std::time::Duration;

use cluster_workloads::node::LogOptions;
use cluster_workloads::node::builtin::Builtins;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::harness::{IMAGE, NODE, get, ip, is_ready, run, status, until};

fn pod(name: &str, spec: Value, container: Value) -> Value {
    let mut one = json!({"name": "c", "image": IMAGE, "imagePullPolicy": "Never"});
    one.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut whole = json!({"nodeName": NODE, "automountServiceAccountToken": false, "containers": [one]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": whole})
}

#[test]
fn containers_run_as_their_security_contexts_say() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let spec = json!({"securityContext": {"runAsUser": 4242, "runAsGroup": 4343, "supplementalGroups": [4444]}});
        ground.create(pod("user", spec, json!({"args": ["serve", "8080"]}))).await;
        let user = ground.eventually("user", "readiness", is_ready).await;
        let who = until("the process's status", async || {
            let text = get(&ip(&user), 8080, "/file/proc/self/status");
            text.contains("Groups:").then_some(text)
        })
        .await;
        for line in ["Uid:\t4242\t4242\t4242\t4242", "Gid:\t4343\t4343\t4343\t4343"] {
            assert!(who.contains(line), "{who}");
        }
        assert!(who.lines().any(|line| line.starts_with("Groups:") && line.contains("4444")), "{who}");
        let refused = json!({"securityContext": {"runAsNonRoot": true}});
        ground.create(pod("root", refused, json!({"args": ["serve", "8080"]}))).await;
        let reason = |pod: &Pod| -> Option<String> {
            pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()?.waiting.as_ref()?.reason.clone()
        };
        let is_refused = |pod: &Pod| reason(pod).as_deref() == Some("CreateContainerConfigError");
        let root = ground.eventually("root", "the refusal", is_refused).await;
        assert!(status(&root, 0).state.unwrap().waiting.unwrap().message.is_some());
        for name in ["user", "root"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

#[test]
fn a_pod_without_the_hosts_users_has_its_own() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let spec = json!({"hostUsers": false, "volumes": [
            {"name": "facts", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"name": "room", "emptyDir": {}},
        ]});
        let mounts = json!([{"name": "facts", "mountPath": "/facts"}, {"name": "room", "mountPath": "/room"}]);
        ground.create(pod("own", spec, json!({"args": ["serve", "8080"], "volumeMounts": mounts}))).await;
        let own = ground.eventually("own", "readiness", is_ready).await;
        let map = until("its users", async || {
            let text = get(&ip(&own), 8080, "/file/proc/self/uid_map");
            text.contains("65536").then_some(text)
        })
        .await;
        let numbers: Vec<u32> =
            map.lines().last().unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [0, first, 65_536] = numbers[..] else { panic!("{map}") };
        assert!(first >= 65_536, "root inside is one of the machine's: {map}");
        assert!(get(&ip(&own), 8080, "/file/facts/name").ends_with("own"), "it reads what is made for it");
        ground.delete("own").await;
        node.stop().await;
        ground
    });
}

#[test]
fn who_takes_too_much_memory_is_killed_and_told_so() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let container = json!({"args": ["eat", "256"], "resources": {"limits": {"memory": "32Mi"}}});
        ground.create(pod("greedy", json!({"restartPolicy": "Never"}), container)).await;
        let has_ended = |pod: &Pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Failed");
        let greedy = ground.eventually("greedy", "its end", has_ended).await;
        let end = status(&greedy, 0).state.unwrap().terminated.unwrap();
        assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")));
        ground.delete("greedy").await;
        node.stop().await;
        ground
    });
}

#[test]
fn who_does_not_end_in_time_is_killed() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        ground.create(pod("stays", json!({"terminationGracePeriodSeconds": 1}), json!({"args": ["stay"]}))).await;
        let log = || async {
            let options = LogOptions { container: "c".to_owned(), ..LogOptions::default() };
            node.logs("stays", options).await
        };
        ground.eventually("stays", "its run", is_ready).await;
        until("its first words", async || log().await.contains("here").then_some(())).await;
        let begun = tokio::time::Instant::now();
        ground.pods().delete("stays", &DeleteParams::default()).await.unwrap();
        until("SIGTERM", async || log().await.contains("asked to end").then_some(())).await;
        until("its end", async || ground.pods().get_opt("stays").await.unwrap().is_none().then_some(())).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "it had its grace period");
        node.stop().await;
        ground
    });
}
