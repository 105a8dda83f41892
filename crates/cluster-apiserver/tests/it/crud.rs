//! Objects through a kube client of this process.

#![expect(clippy::disallowed_methods, reason = "the API is what is tested, so it is called as clients call it")]

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{CONFIG_MAPS, Harness, config_map};

#[tokio::test(start_paused = true)]
async fn an_object_lives_through_a_typed_client() {
    let harness = Harness::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(harness.client());
    let map: ConfigMap = serde_json::from_value(config_map("a")).expect("map");
    let made = maps.create(&PostParams::default(), &map).await.expect("create");
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(made.metadata.namespace.as_deref(), Some("default"));
    let again = maps.create(&PostParams::default(), &map).await.expect_err("taken");
    assert!(matches!(again, kube::Error::Api(status) if status.reason == "AlreadyExists" && status.code == 409));
    let mut changed = made.clone();
    changed.data = Some([("x".to_owned(), "1".to_owned())].into());
    let replaced = maps.replace("a", &PostParams::default(), &changed).await.expect("replace");
    assert_ne!(replaced.metadata.resource_version, made.metadata.resource_version);
    let stale = maps.replace("a", &PostParams::default(), &changed).await.expect_err("stale");
    assert!(matches!(stale, kube::Error::Api(status) if status.reason == "Conflict"));
    let patch = json!({"data": {"y": "2", "x": null}});
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patch");
    assert_eq!(patched.data, Some([("y".to_owned(), "2".to_owned())].into()));
    let same = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("no-op");
    assert_eq!(
        same.metadata.resource_version, patched.metadata.resource_version,
        "what changes nothing is not written"
    );
    assert_eq!(maps.list(&ListParams::default()).await.expect("list").items.len(), 1);
    maps.delete("a", &DeleteParams::default()).await.expect("delete");
    assert!(maps.get_opt("a").await.expect("get").is_none());
}

#[tokio::test(start_paused = true)]
async fn many_writers_lose_nothing() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("shared")).await;
    let path = format!("{CONFIG_MAPS}/shared");
    let patches = (0..50).map(|n| {
        let (raw, path) = (harness.raw(), path.clone());
        async move { raw.merge(&path, &json!({"data": {format!("k{n}"): "v"}})).await.status }
    });
    let statuses = futures::future::join_all(patches).await;
    assert!(statuses.iter().all(|status| status.is_success()), "{statuses:?}");
    assert_eq!(raw.get(&path).await.json()["data"].as_object().expect("data").len(), 51);
}

/// A node that sees the mark removes the Pod, and may be faster than who has marked it. Threads make that happen in a few of these rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_deletes_is_told_so_though_a_node_was_faster() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let path = "/api/v1/namespaces/default/pods/p";
    let spec =
        json!({"nodeName": "n", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": spec});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    for round in 0..200 {
        assert_eq!(raw.post("/api/v1/namespaces/default/pods", &pod).await.status, 201);
        let (node, (sender, done)) = (harness.raw(), tokio::sync::oneshot::channel());
        harness.tasks.spawn_transient("test/node", async move {
            loop {
                let seen = node.get(path).await;
                if seen.status != 200 {
                    break;
                }
                if !seen.json()["metadata"]["deletionTimestamp"].is_null() {
                    node.delete(path, &json!({"gracePeriodSeconds": 0})).await;
                }
            }
            let _ = sender.send(());
        });
        let answer = if round % 2 == 0 {
            raw.delete(path, &json!({})).await
        } else {
            raw.post(&format!("{path}/eviction"), &eviction).await
        };
        assert!(answer.status.is_success(), "round {round}: {}", answer.json());
        done.await.expect("the node ends when the Pod is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_state() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    for n in 0..7 {
        raw.post(CONFIG_MAPS, &config_map(&format!("m{n}"))).await;
    }
    let first = raw.get(&format!("{CONFIG_MAPS}?limit=3")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // What happens between the pages is not seen by them.
    raw.delete(&format!("{CONFIG_MAPS}/m5"), &json!(null)).await;
    raw.post(CONFIG_MAPS, &config_map("m45")).await;
    raw.merge(&format!("{CONFIG_MAPS}/m4"), &json!({"data": {"a": "changed"}})).await;
    let mut names = Vec::new();
    let mut page = first.clone();
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        for item in page["items"].as_array().expect("items") {
            assert_eq!(item["data"]["a"], "b");
            names.push(item["metadata"]["name"].as_str().expect("name").to_owned());
        }
        let Some(next) = page["metadata"]["continue"].as_str() else { break };
        page = raw.get(&format!("{CONFIG_MAPS}?limit=3&continue={next}")).await.json();
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let revision = first["metadata"]["resourceVersion"].as_str().expect("revision");
    let exact = format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion={revision}");
    assert_eq!(raw.get(&exact).await.json()["items"].as_array().expect("items").len(), 7);
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_that_nobody_else_has() {
    let harness = Harness::start().await;
    let services: Api<Service> = Api::default_namespaced(harness.client());
    let service = |name: &str, spec: serde_json::Value| -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("service")
    };
    let ports = json!([{"port": 80}]);
    let plain = |n: usize| service(&format!("s{n}"), json!({"type": "NodePort", "ports": ports}));
    let post = PostParams::default();
    let made: Vec<Service> = (0..20).map(plain).collect();
    let made = futures::future::join_all(made.iter().map(|service| services.create(&post, service))).await;
    let mut addresses = std::collections::BTreeSet::new();
    let mut node_ports = std::collections::BTreeSet::new();
    for service in made {
        let spec = service.expect("create").spec.expect("spec");
        assert!(addresses.insert(spec.cluster_ip.expect("address")));
        assert!(node_ports.insert(spec.ports.expect("ports")[0].node_port.expect("port")));
    }
    let taken = addresses.first().expect("address");
    let refused =
        services.create(&post, &service("t", json!({"clusterIP": taken, "ports": ports}))).await.expect_err("taken");
    assert!(refused.to_string().contains("provided IP is already allocated"), "{refused}");
    services.delete("s0", &Default::default()).await.expect("delete");
    let external =
        json!({"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": null, "clusterIPs": null}});
    let released = services.patch("s1", &PatchParams::default(), &Patch::Merge(&external)).await.expect("patch");
    assert_eq!(released.spec.expect("spec").cluster_ip, None);
    let headless =
        services.create(&post, &service("h", json!({"clusterIP": "None", "ports": ports}))).await.expect("headless");
    assert_eq!(headless.spec.expect("spec").cluster_ips, Some(vec!["None".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_a_service_keeps_as_a_name_is_hidden_until_it_has_an_address_again() {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let harness = Harness::start().await;
    let raw = harness.raw();
    let spec = json!({"internalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    raw.post(SERVICES, &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})).await;
    let path = format!("{SERVICES}/s");
    let policy = |object: &serde_json::Value| object["spec"]["internalTrafficPolicy"].clone();
    let named = raw.merge(&path, &json!({"spec": {"type": "ExternalName", "externalName": "a.b"}})).await.json();
    assert_eq!((named["spec"]["type"].clone(), policy(&named)), (json!("ExternalName"), json!(null)));
    assert_eq!(policy(&raw.get(&path).await.json()), json!(null));
    let only = format!("{SERVICES}?fieldSelector=metadata.name%3Ds");
    let listed = raw.get(&only).await.json()["items"][0].clone();
    assert_eq!((listed["spec"]["type"].clone(), policy(&listed)), (json!("ExternalName"), json!(null)));
    assert_eq!(policy(&raw.get(&format!("{path}/status")).await.json()), json!("Local"));
    let event = raw.get(&format!("{only}&watch=true&timeoutSeconds=1")).await.json();
    assert_eq!((event["type"].clone(), policy(&event["object"])), (json!("ADDED"), json!(null)));
    let tried = raw.merge(&format!("{path}?dryRun=All"), &json!({"metadata": {"labels": {"a": "b"}}})).await.json();
    assert_eq!((tried["metadata"]["labels"]["a"].clone(), policy(&tried)), (json!("b"), json!(null)));
    let again = raw.merge(&path, &json!({"spec": {"type": "ClusterIP"}})).await.json();
    assert_eq!(policy(&again), json!("Local"));
    // It is seen where its deletion begins and ends, and not between.
    let held = json!({"metadata": {"finalizers": ["a.b/c"]}, "spec": {"type": "ExternalName"}});
    assert_eq!(policy(&raw.merge(&path, &held).await.json()), json!(null));
    assert_eq!(policy(&raw.delete(&path, &json!(null)).await.json()), json!("Local"));
    let label = json!({"metadata": {"labels": {"a": "c"}}});
    assert_eq!(policy(&raw.merge(&format!("{path}?dryRun=All"), &label).await.json()), json!(null));
    let released = json!({"metadata": {"finalizers": null}});
    assert_eq!(policy(&raw.merge(&path, &released).await.json()), json!("Local"));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_meant_for_an_object_of_before_is_told_where_that_was() {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let harness = Harness::start().await;
    let metadata = json!({"name": "s", "uid": "11111111-2222-3333-4444-555555555555"});
    let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}});
    for (query, root) in [("", "/registry"), ("?dryRun=All", "")] {
        let refused = harness.raw().put(&format!("{SERVICES}/s{query}"), &body).await;
        assert_eq!(refused.status, 409);
        let key = format!("Key: {root}/services/specs/default/s,");
        assert!(refused.message().contains(&key), "{}", refused.message());
    }
}
