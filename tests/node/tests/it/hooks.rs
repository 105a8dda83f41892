//! `postStart` hooks: what waits for them, and what becomes of a container whose hook fails.

use cluster_workloads::node::builtin::Builtins;
use serde_json::{Value, json};

use super::harness::{IMAGE, NODE, is_ready, run, status, until};

/// A Pod of two containers, the first of which has a hook that runs the fixture with these words.
fn pod(name: &str, hook: &[&str]) -> Value {
    let command: Vec<_> = ["/fixture"].iter().chain(hook).collect();
    let container = |name: &str| json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "args": ["stay"]});
    let mut first = container("first");
    first["lifecycle"] = json!({"postStart": {"exec": {"command": command}}});
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [first, container("second")],
    }})
}

#[test]
fn a_container_runs_once_its_hook_is_done() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        ground.create(pod("done", &["exit", "0"])).await;
        ground.eventually("done", "readiness", is_ready).await;
        ground.delete("done").await;
        ground.create(pod("held", &["stay"])).await;
        // The program and its hook, and nothing of the other container.
        until("the hook", async || {
            let (used, _) = node.sandbox.usage(&[]).await.unwrap();
            (used.len() == 1 && used[0].1.pids == Some(2)).then_some(())
        })
        .await;
        let is_shown = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some())
        };
        let held = ground.eventually("held", "its status", is_shown).await;
        assert_eq!(held.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
        for at in [0, 1] {
            let waiting = status(&held, at).state.unwrap().waiting.unwrap();
            assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
        }
        // Its end does not wait for the hook.
        ground.delete("held").await;
        node.stop().await;
        ground
    });
}

#[test]
fn a_container_whose_hook_fails_is_restarted() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        ground.create(pod("fails", &["exit", "3"])).await;
        let has_restarted = |pod: &k8s_openapi::api::core::v1::Pod| {
            pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some())
                && status(pod, 0).restart_count > 0
        };
        let again = ground.eventually("fails", "another run", has_restarted).await;
        let end = status(&again, 0).last_state.unwrap().terminated.unwrap();
        assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("Error")));
        until("the word of it", async || ground.events("fails").await.contains("PostStartHook failed").then_some(()))
            .await;
        ground.delete("fails").await;
        node.stop().await;
        ground
    });
}
