//! Pods that take more of the disk than they may.

use cluster_workloads::node::LogOptions;
use cluster_workloads::node::builtin::Builtins;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::harness::{Ground, IMAGE, NODE, is_ready, run, status, until};

/// A Pod of one container that writes 2 MiB and stays, though it is asked to end.
fn filling(name: &str, path: &str, limits: Value, size_limit: Option<&str>) -> Value {
    let mut empty_dir = json!({});
    if let Some(limit) = size_limit {
        empty_dir["sizeLimit"] = json!(limit);
    }
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 600,
        "containers": [{
            "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["fill", path], "resources": {"limits": limits},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }],
        "volumes": [{"name": "v", "emptyDir": empty_dir}],
    }})
}

async fn is_evicted(ground: &Ground, name: &str, message: &str) {
    let pod = ground
        .eventually(name, "eviction", |pod| {
            pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Failed"))
        })
        .await;
    let found = pod.status.as_ref().unwrap();
    assert_eq!((found.reason.as_deref(), found.message.as_deref()), (Some("Evicted"), Some(message)));
    let terminated = status(&pod, 0).state.unwrap().terminated.unwrap();
    assert_eq!(terminated.exit_code, 137, "it did not end by itself, and is not restarted");
    assert!(ground.events(name).await.contains(message.trim_end()), "{}", ground.events(name).await);
}

/// The Pod that takes less than it may runs, and did not have to be started again.
async fn is_untouched(ground: &Ground) {
    let within = ground.pods().get("within").await.unwrap();
    assert_eq!(within.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(status(&within, 0).restart_count, 0);
}

#[test]
fn a_pod_that_takes_more_than_it_may_is_evicted() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let limit = |limit: &str| json!({"ephemeral-storage": limit});
        let mut within = filling("within", "/v/file", limit("64Mi"), Some("64Mi"));
        within["spec"]["terminationGracePeriodSeconds"] = json!(1);
        ground.create(within).await;
        ground.eventually("within", "its container", is_ready).await;
        // What it says comes after what it writes.
        let options = LogOptions { container: "c".to_owned(), ..LogOptions::default() };
        until("its file", async || (node.logs("within", options.clone()).await == "here\n").then_some(())).await;
        ground.create(filling("layer", "/file", limit("1Mi"), None)).await;
        ground.create(filling("volume", "/v/file", json!({}), Some("1Mi"))).await;
        ground.create(filling("whole", "/v/file", limit("1Mi"), None)).await;
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
        is_evicted(&ground, "layer", whole).await;
        is_evicted(&ground, "whole", whole).await;
        is_evicted(&ground, "volume", "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ").await;
        // One that comes after those is found by a later look at all: the look that found those has seen what `within` takes, too.
        ground.create(filling("later", "/file", limit("1Mi"), None)).await;
        is_evicted(&ground, "later", whole).await;
        is_untouched(&ground).await;
        // It stays what it is for the next process, once that is at work.
        node.stop().await;
        let node = ground.node(Builtins::default()).await;
        ground.create(filling("last", "/file", limit("1Mi"), None)).await;
        is_evicted(&ground, "last", whole).await;
        is_untouched(&ground).await;
        for name in ["layer", "whole", "volume", "later"] {
            let status = ground.pods().get(name).await.unwrap().status.unwrap();
            assert_eq!(
                (status.phase.as_deref(), status.reason.as_deref()),
                (Some("Failed"), Some("Evicted")),
                "{name}"
            );
        }
        for name in ["within", "layer", "whole", "volume", "later", "last"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

#[test]
fn a_pod_ends_when_it_was_active_for_as_long_as_it_may() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let mut pod = filling("brief", "/v/file", json!({}), None);
        pod["spec"]["activeDeadlineSeconds"] = json!(1);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
        ground.create(pod).await;
        let is_over = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Failed"));
        let over = ground.eventually("brief", "its end", is_over).await.status.unwrap();
        let message = "Pod was active on the node longer than the specified deadline";
        assert_eq!((over.reason.as_deref(), over.message.as_deref()), (Some("DeadlineExceeded"), Some(message)));
        ground.delete("brief").await;
        node.stop().await;
        ground
    });
}
