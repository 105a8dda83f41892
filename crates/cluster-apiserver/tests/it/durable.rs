//! Restarts: what was acknowledged is there, revisions go on, watches from before are told.
#![expect(clippy::disallowed_methods, reason = "the API is what is tested, so it is called as clients call it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use cluster_apiserver::store::journal::memory::{CrashPoint, MemoryDisk};
use cluster_apiserver::store::journal::{Batch, Recovered, Threading};
use cluster_apiserver::store::{Journal, JournalError, ObjectKey, Revision, TableName};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::support::{CONFIG_MAPS, Harness, config_map, eventually};

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
    let exact = second.raw().get(&format!("{CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact")).await;
    assert_eq!(
        (exact.status.as_u16(), exact.message()),
        (410, "The resourceVersion for the provided list is too old.".to_owned())
    );
}

/// A disk that can be made to hang, and then to fail.
struct Gate {
    journal: Box<dyn Journal>,
    is_shut: Arc<AtomicBool>,
    failure: mpsc::Receiver<()>,
}

impl Journal for Gate {
    fn load(&mut self, sink: &mut dyn FnMut(Recovered)) -> Result<Revision, JournalError> {
        self.journal.load(sink)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), JournalError> {
        if !self.is_shut.load(Ordering::Acquire) {
            return self.journal.append(batch);
        }
        // The end of the test fails it as well.
        let _ = self.failure.recv();
        Err(JournalError::Crashed)
    }

    fn threading(&self) -> Threading {
        Threading::OwnThread
    }
}

#[tokio::test]
async fn nothing_is_answered_by_what_never_became_durable() {
    let is_shut = Arc::new(AtomicBool::new(false));
    let (fail, failure) = mpsc::channel();
    let gate = Gate { journal: MemoryDisk::new().journal(), is_shut: Arc::clone(&is_shut), failure };
    let harness = Harness::start_on(Box::new(gate)).await;
    let raw = harness.raw();
    for name in ["patched", "deleted"] {
        assert_eq!(raw.post(CONFIG_MAPS, &config_map(name)).await.status, 201);
    }
    is_shut.store(true, Ordering::Release);
    let path = |name: &str| format!("{CONFIG_MAPS}/{name}");
    let (patched, deleted) = (path("patched"), path("deleted"));
    let (change, again) = (json!({"data": {"x": "y"}}), config_map("patched"));
    // The second of each pair sees what the first has written, and would change nothing.
    let under_way = futures::future::join_all([
        raw.merge(&patched, &change).boxed(),
        raw.merge(&patched, &change).boxed(),
        raw.delete(&deleted, &json!(null)).boxed(),
        raw.delete(&deleted, &json!(null)).boxed(),
        raw.post(CONFIG_MAPS, &again).boxed(),
    ]);
    let failing = async {
        let table = TableName::from("configmaps");
        let is_waiting =
            |name: &str| harness.server.store().head(&table, &ObjectKey::new("default", name)).unpublished.is_some();
        eventually("both are written to", || async { is_waiting("patched") && is_waiting("deleted") }).await;
        // All of them have been looked at by then: this runtime has one thread, and they were there first.
        fail.send(()).expect("the writer waits");
    };
    let (answers, ()) = futures::future::join(under_way, failing).await;
    let codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(codes, [500; 5]);
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
    // Only what this process writes may be lost.
    let made: kube::Api<Pod> = kube::Api::default_namespaced(first.client());
    let of_set = serde_json::from_value(pod("lost", set)).expect("a pod");
    made.create(&kube::api::PostParams::default(), &of_set).await.expect("created");
    let lost = first.raw().get(&format!("{pods}/lost")).await.json();
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
