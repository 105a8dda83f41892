//! Restarts: what was acknowledged is there, revisions go on, watches from before are told.

use cluster_apiserver::store::journal::memory::{CrashPoint, MemoryDisk};
use serde_json::json;

use crate::support::{CONFIG_MAPS, Harness, config_map};

#[tokio::test(start_paused = true)]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let disk = MemoryDisk::new();
    let mut acknowledged = Vec::new();
    let mut last_revision = 0;
    for life in 0..6_u64 {
        let harness = Harness::start_with(disk.clone(), Vec::new()).await;
        let raw = harness.raw();
        let list = raw.get(CONFIG_MAPS).await.json();
        let names: Vec<String> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["metadata"]["name"].as_str().expect("name").to_owned())
            .collect();
        for name in &acknowledged {
            assert!(names.contains(name), "life {life}: {name} is lost");
        }
        let revision: u64 =
            list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("revision");
        assert!(revision >= last_revision, "life {life}: revisions went back");
        disk.crash_at(3 + life, if life % 2 == 0 { CrashPoint::Before } else { CrashPoint::After });
        for n in 0.. {
            let name = format!("m{life}-{n}");
            let answer = raw.post(CONFIG_MAPS, &config_map(&name)).await;
            if answer.status != 201 {
                assert_eq!(answer.status, 500);
                break;
            }
            last_revision = answer.json()["metadata"]["resourceVersion"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("revision");
            acknowledged.push(name);
        }
        // A dead store ends the process, and says so.
        assert!(harness.tasks.failure().await.reason.contains("the store has failed"));
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_and_rules_survive() {
    let disk = MemoryDisk::new();
    let first = Harness::start_with(disk.clone(), Vec::new()).await;
    let services = "/api/v1/namespaces/default/services";
    let made =
        first.raw().post(services, &json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).await.json();
    let address = made["spec"]["clusterIP"].as_str().expect("address").to_owned();
    first.server.close();
    let second = Harness::start_with(disk, Vec::new()).await;
    let taken = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    assert_eq!(second.raw().post(services, &taken).await.status, 422);
    let watch = second.raw().get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).await;
    assert_eq!(watch.json()["object"]["code"], 410);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_may_lose_can_be_put_back_as_it_was() {
    let disk = MemoryDisk::new();
    let first = Harness::start_with(disk.clone(), Vec::new()).await;
    let pods = "/api/v1/namespaces/default/pods";
    let account = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(first.raw().post(account, &json!({"metadata": {"name": "default"}})).await.status, 201);
    let pod = |name: &str, owners: serde_json::Value| json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s-uid", "controller": true}]);
    let lost = first.raw().post(pods, &pod("lost", set)).await.json();
    // It dies before the lazy write has come to the disk.
    disk.crash();
    let second = Harness::start_with(disk, Vec::new()).await;
    assert_eq!(second.raw().get(&format!("{pods}/lost")).await.status, 404, "it is lost");
    assert!(second.server.restore("", "pods", lost.clone()).await.unwrap());
    let mut back = second.raw().get(&format!("{pods}/lost")).await.json();
    assert!(back["metadata"]["resourceVersion"] != lost["metadata"]["resourceVersion"]);
    back["metadata"]["resourceVersion"] = lost["metadata"]["resourceVersion"].clone();
    assert_eq!(back, lost);
    assert!(!second.server.restore("", "pods", lost).await.unwrap(), "it is there");
    let mut lone = pod("lone", json!([]));
    lone["metadata"]["namespace"] = "default".into();
    assert!(!second.server.restore("", "pods", lone.clone()).await.unwrap(), "it cannot have been lost");
    lone["metadata"]["namespace"] = "gone".into();
    assert_eq!(second.server.restore("", "pods", lone).await.unwrap_err().code, 404);
}
