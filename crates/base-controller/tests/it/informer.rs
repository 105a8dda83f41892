//! Informers against the API server: lists, watches, cuts, relists, bad objects.

use std::sync::{Arc, Mutex};

use base_controller::{Delta, Key, Scope};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::Expression;
use serde_json::{Value, json};

use crate::fake_api::Failure;
use crate::workload::{World, config_map, eventually, object, settle};

fn key(name: &str) -> Key {
    Key::new("n", name)
}

fn log(delta: &Delta<'_, ConfigMap>) -> String {
    let change = match (delta.old, delta.new) {
        (None, Some(_)) => "new",
        (Some(_), Some(_)) => "changed",
        _ => "gone",
    };
    format!("{change} {}", delta.latest().unwrap().name_any())
}

#[tokio::test(start_paused = true)]
async fn a_cache_follows_its_kind_and_tells_each_change_once() {
    let world = World::new();
    world.create(&config_map("a", json!({}))).await;
    let maps = world.context.informers.get::<ConfigMap>(Scope::all());
    let told = Arc::new(Mutex::new(Vec::new()));
    maps.synced().await;
    let log_to = Arc::clone(&told);
    maps.subscribe(move |delta| log_to.lock().unwrap().push(log(delta)));
    world.create(&config_map("b", json!({}))).await;
    world.update::<ConfigMap>("a", |map| map.immutable = Some(true)).await;
    world.delete::<ConfigMap>("b").await;
    eventually("b is gone", || told.lock().unwrap().len() == 4).await;
    assert_eq!(*told.lock().unwrap(), ["new a", "new b", "changed a", "gone b"]);
    assert_eq!(maps.keys(), [key("a")]);
    assert_eq!(maps.seen().0, 4);
}

#[tokio::test(start_paused = true)]
async fn the_same_kind_and_scope_is_one_watch() {
    let world = World::new();
    let informers = &world.context.informers;
    let (one, same) = (informers.get::<ConfigMap>(Scope::all()), informers.get::<ConfigMap>(Scope::all()));
    let labelled = informers
        .get::<ConfigMap>(Scope::namespace("n").with_labels(Expression::Equal("app".into(), "x".into()).into()));
    let mut mine = config_map("mine", json!({}));
    mine.labels_mut().insert("app".into(), "x".into());
    world.create(&mine).await;
    world.create(&config_map("other", json!({}))).await;
    eventually("both are seen", || one.len() == 2 && same.len() == 2 && labelled.len() == 1).await;
    let watches = world.metrics.encode().lines().filter(|line| line.starts_with("informer_objects{")).count();
    assert_eq!(watches, 2);
}

#[tokio::test(start_paused = true)]
async fn kinds_known_at_run_time_and_metadata_alone() {
    let world = World::new();
    let resource = ApiResource::erase::<ConfigMap>(&());
    let dynamic = world.context.informers.dynamic(resource.clone(), Scope::all());
    let meta = world.context.informers.of_resource::<PartialObjectMeta<DynamicObject>>(resource, Scope::all());
    world.create(&config_map("a", json!({"color": "red"}))).await;
    eventually("both see it", || dynamic.len() == 1 && meta.len() == 1).await;
    assert_eq!(dynamic.get(&key("a")).unwrap().data["data"]["color"], "red");
    assert_eq!(meta.get(&key("a")).unwrap().name_any(), "a");
}

#[tokio::test(start_paused = true)]
async fn managed_fields_are_not_kept() {
    let world = World::new();
    let mut map = config_map("a", json!({}));
    map.metadata.managed_fields = Some(vec![Default::default()]);
    world.create(&map).await;
    let maps = world.context.informers.get::<ConfigMap>(Scope::all());
    maps.synced().await;
    assert_eq!(maps.get(&key("a")).unwrap().metadata.managed_fields, None);
}

#[tokio::test(start_paused = true)]
async fn a_cut_watch_resumes_and_a_forgotten_history_is_listed_anew() {
    let world = World::new();
    let maps = world.context.informers.get::<ConfigMap>(Scope::all());
    let by_color = maps.index("color", |map| map.data.iter().flatten().map(|(_, value)| value.clone()).collect());
    for name in ["a", "b", "c"] {
        world.create(&config_map(name, json!({"color": "red"}))).await;
    }
    eventually("all are seen", || by_color.get("red").len() == 3).await;
    world.api.withhold();
    world.delete::<ConfigMap>("a").await;
    world.update::<ConfigMap>("b", |map| map.data = None).await;
    world.api.cut_watches();
    world.api.release();
    eventually("the resumed watch tells", || maps.len() == 2).await;
    world.api.withhold();
    world.delete::<ConfigMap>("c").await;
    world.api.cut_watches();
    world.api.forget_history();
    world.api.release();
    eventually("what a list lacks is gone", || maps.keys() == [key("b")]).await;
    assert!(by_color.get("red").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_is_tried_again() {
    let world = World::new();
    world.create(&config_map("a", json!({}))).await;
    for _ in 0..5 {
        world.api.fail("GET", Failure(500, "InternalError", "not now".into()));
    }
    let maps = world.context.informers.get::<ConfigMap>(Scope::all());
    maps.synced().await;
    assert_eq!(maps.len(), 1);
    assert!(world.metric("informer_failures_total{") >= 5.0);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_harms_only_itself() {
    let world = World::new();
    let raw = |name: &str, replicas: Value| -> DynamicObject {
        object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "n"},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }))
    };
    let api: kube::Api<DynamicObject> =
        kube::Api::namespaced_with(world.client.clone(), "n", &ApiResource::erase::<Deployment>(&()));
    let put = |name: &'static str, replicas: Value| {
        let (api, object) = (api.clone(), raw(name, replicas));
        async move { api.replace(name, &Default::default(), &object).await.unwrap() }
    };
    for name in ["a", "b"] {
        api.create(&Default::default(), &raw(name, json!(1))).await.unwrap();
    }
    let deployments = world.context.informers.get::<Deployment>(Scope::all());
    eventually("both are seen", || deployments.len() == 2).await;
    put("a", json!("many")).await;
    put("b", json!(2)).await;
    let replicas = |name: &str| deployments.get(&key(name)).and_then(|d| d.spec.replicas);
    eventually("the good one goes on", || replicas("b") == Some(2)).await;
    assert_eq!(replicas("a"), Some(1), "its last good form stays");
    assert!(world.metric("informer_undecodable_total{") >= 1.0);
    put("a", json!(3)).await;
    eventually("the bad one is good again", || replicas("a") == Some(3)).await;
    put("a", json!("many")).await;
    api.delete("a", &Default::default()).await.unwrap();
    eventually("a bad one can go", || deployments.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_is_told_what_is_there() {
    let world = World::new();
    let pods = world.context.informers.get::<Pod>(Scope::all());
    world.create(&object::<Pod>(json!({"metadata": {"name": "p", "namespace": "n"}}))).await;
    eventually("it is seen", || pods.len() == 1).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let log_to = Arc::clone(&told);
    pods.subscribe(move |delta| log_to.lock().unwrap().push(delta.is_initial));
    world.create(&object::<Pod>(json!({"metadata": {"name": "q", "namespace": "n"}}))).await;
    settle().await;
    assert_eq!(*told.lock().unwrap(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_watch_ends_and_can_be_started_again() {
    let world = World::new();
    let informers = &world.context.informers;
    let maps = informers.get::<ConfigMap>(Scope::all());
    maps.synced().await;
    informers.forget(&maps);
    world.create(&config_map("a", json!({}))).await;
    let again = informers.get::<ConfigMap>(Scope::all());
    again.synced().await;
    assert_eq!((maps.len(), again.len()), (0, 1));
}
