//! The driver: keys, lanes, waiting for one's own writes, failures, shutdown, leadership.

use std::sync::Arc;
use std::time::Duration;

use base_controller::leader::{Elector, Leadership};
use base_controller::{Key, Scope};
use base_rt::Phase;
use base_rt::watch;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use serde_json::json;
use tokio::sync::mpsc;

use crate::fake_api::Failure;
use crate::workload::{DEPLOYMENTS, FINALIZER, MAPS, World, config_map, deployment, eventually, settle};

fn annotate(name: &'static str, value: &'static str) -> impl FnOnce(&mut Deployment) {
    move |deployment| drop(deployment.annotations_mut().insert(name.into(), value.into()))
}

fn scale(replicas: i32) -> impl FnOnce(&mut Deployment) {
    move |deployment| deployment.spec.replicas = Some(replicas)
}

#[tokio::test(start_paused = true)]
async fn an_object_is_made_true_kept_true_and_cleaned_up() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 3)).await;
    eventually("three pods", || world.pods() == 3 && world.status("d")["replicas"] == 3).await;
    assert_eq!(world.api.object(DEPLOYMENTS, "d").unwrap()["metadata"]["finalizers"], json!([FINALIZER]));
    world.update("d", scale(1)).await;
    eventually("one pod", || world.pods() == 1 && world.status("d")["replicas"] == 1).await;
    let name = world.api.objects("api/v1/pods")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.delete::<Pod>(&name).await;
    eventually("a new pod", || world.pods() == 1 && world.api.object("api/v1/pods", &name).is_none()).await;
    world.delete::<Deployment>("d").await;
    eventually("nothing is left", || world.pods() == 0 && world.api.object(DEPLOYMENTS, "d").is_none()).await;
    assert_eq!(world.metric("unseen_writes_total{"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_not_meant_wake_nobody() {
    let world = World::new();
    world.controller_of(|deployment| deployment.spec.replicas != Some(0)).start();
    world.create(&deployment("other", 0)).await;
    world.create(&deployment("d", 2)).await;
    eventually("two pods", || world.status("d")["replicas"] == 2).await;
    assert!(world.trace.lock().unwrap().iter().all(|plan| !plan.contains("other")));
    world.update("d", scale(0)).await;
    eventually("no pods", || world.pods() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_planned_or_written() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 2)).await;
    eventually("two pods", || world.status("d")["replicas"] == 2).await;
    settle().await;
    world.api.writes();
    let plans = world.trace.lock().unwrap().len();
    assert!(plans <= 4, "{plans} plans for two steps");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.trace.lock().unwrap().len(), plans);
    assert!(world.api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_planned_before_its_writes_are_seen() {
    let world = World::new();
    let handle = world.start();
    world.create(&deployment("d", 2)).await;
    eventually("two pods", || world.status("d")["replicas"] == 2).await;
    world.api.withhold();
    world.update("d", scale(5)).await;
    world.api.release();
    world.api.withhold();
    eventually("five pods", || world.pods() == 5).await;
    for _ in 0..20 {
        handle.wake(&Key::new("n", "d"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.pods(), 5, "the cache shows two, but the key waits");
    world.api.release();
    eventually("all is seen", || world.status("d")["replicas"] == 5).await;
    assert_eq!((world.pods(), world.metric("unseen_writes_total{")), (5, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_repeated() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 0)).await;
    eventually("it is known", || !world.status("d").is_null()).await;
    world.api.lose_answer("POST /api/v1/namespaces/n/pods");
    world.api.withhold();
    world.update("d", scale(1)).await;
    world.api.release();
    world.api.withhold();
    eventually("one pod", || world.pods() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.api.release();
    eventually("it is seen", || world.status("d")["replicas"] == 1).await;
    let made = world.api.writes().iter().filter(|write| write.ends_with("/pods")).count();
    assert_eq!(made, 1);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_bounded() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 1)).await;
    eventually("one pod", || world.status("d")["replicas"] == 1).await;
    world.api.withhold();
    world.update("d", scale(2)).await;
    world.api.release();
    world.api.withhold();
    eventually("two pods", || world.pods() == 2).await;
    tokio::time::sleep(Duration::from_millis(4900)).await;
    assert_eq!(world.metric("unseen_writes_total{"), 0.0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.metric("unseen_writes_total{"), 1.0);
    assert_eq!(world.pods(), 3, "planned anyway, from what the cache shows");
    world.api.release();
    eventually("it comes right", || world.pods() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_counts_as_seen_after_a_list() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 0)).await;
    eventually("it is known", || !world.status("d").is_null()).await;
    world.api.withhold();
    world.update("d", scale(1)).await;
    world.api.release();
    world.api.withhold();
    eventually("one pod", || world.pods() == 1).await;
    settle().await;
    // The pod goes before any watch has told of it: its revision will never be seen.
    let name = world.api.objects("api/v1/pods")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.delete::<Pod>(&name).await;
    world.api.cut_watches();
    world.api.forget_history();
    eventually("another pod", || world.pods() == 1).await;
    assert_eq!(world.metric("unseen_writes_total{"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_tracked_object_wakes_who_waits_for_it() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 0)).await;
    let color = || world.api.object(MAPS, "d").map(|map| map["data"]["color"].clone());
    eventually("no palette", || color() == Some(json!("none"))).await;
    world.create(&config_map("palette", json!({"color": "red"}))).await;
    eventually("red", || color() == Some(json!("red"))).await;
    world.delete::<ConfigMap>("palette").await;
    eventually("none again", || color() == Some(json!("none"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_shows_in_the_status_and_is_tried_again() {
    let world = World::new();
    for _ in 0..3 {
        world.api.fail("POST /api/v1/namespaces/n/pods", Failure(403, "Forbidden", "exceeded quota".into()));
    }
    world.start();
    world.create(&deployment("d", 1)).await;
    let message = || world.status("d")["conditions"][0]["message"].clone();
    eventually("the condition is set", || message() == "no pod: exceeded quota").await;
    let writes = world.api.writes().len();
    settle().await;
    assert_eq!(world.api.writes().len(), 0, "{writes} writes before; it does not spin");
    eventually("it works in the end", || world.status("d")["replicas"] == 1).await;
    assert!(message().is_null());
}

#[tokio::test(start_paused = true)]
async fn a_panic_harms_only_its_key() {
    let world = World::new();
    world.start();
    let mut bad = deployment("bad", 1);
    bad.annotations_mut().insert("test/plan".into(), "panic".into());
    world.create(&bad).await;
    world.create(&deployment("good", 1)).await;
    eventually("the good one goes on", || world.status("good")["replicas"] == 1).await;
    world.update("bad", annotate("test/plan", "go on")).await;
    eventually("the bad one recovers", || world.status("bad")["replicas"] == 1).await;
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_with_growing_delays() {
    let world = World::new();
    for _ in 0..4 {
        world.api.fail("PUT", Failure(503, "ServiceUnavailable", "not now".into()));
    }
    world.start();
    world.create(&deployment("d", 1)).await;
    eventually("it works in the end", || world.status("d")["replicas"] == 1).await;
    assert_eq!(world.metric(r#"reconcile_count_total{controller="workload",outcome="error"}"#), 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_plan_may_ask_to_look_again_and_a_resync_looks_at_everything() {
    let world = World::new();
    world.controller().with_resync(Duration::from_secs(600)).start();
    let mut again = deployment("again", 0);
    again.annotations_mut().insert("test/again".into(), "60".into());
    world.create(&again).await;
    world.create(&deployment("rest", 0)).await;
    settle().await;
    world.trace.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(590)).await;
    let plans = |name: &str| world.trace.lock().unwrap().iter().filter(|line| line.contains(name)).count();
    assert_eq!((plans("again"), plans("rest")), (9, 0));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(plans("rest"), 1);
}

#[tokio::test(start_paused = true)]
async fn configuration_and_other_services_wake_keys() {
    let world = World::new();
    let (config, receiver) = watch::channel(0);
    let (wake, keys) = mpsc::channel(4);
    world.controller().wakes_all_on(receiver).wakes_on(keys).start();
    world.create(&deployment("a", 0)).await;
    world.create(&deployment("b", 0)).await;
    settle().await;
    let plans = || std::mem::take(&mut *world.trace.lock().unwrap()).len();
    plans();
    config.send_replace(1);
    settle().await;
    assert_eq!(plans(), 2);
    wake.send(Key::new("n", "b")).await.unwrap();
    settle().await;
    assert_eq!(plans(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_keys_in_hand_are_finished_when_the_process_has_drained() {
    let world = World::new();
    world.start();
    settle().await;
    world.api.delay(|| Duration::from_secs(2));
    let making = deployment("d", 1);
    tokio::join!(world.create(&making), async {
        // The create takes 4 s, the plan's first write begins after it.
        tokio::time::sleep(Duration::from_secs(7)).await;
        world.shutdown.advance(Phase::Drained);
    });
    let tasks = world.context.tasks.clone();
    tasks.worked_off().await;
    assert_eq!(world.pods(), 1, "the pod in hand is made");
    assert!(!world.status("d").is_null(), "and its status written");
    world.create(&deployment("late", 1)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.pods(), 1, "no new key is taken");
    world.shutdown.advance(Phase::Stopped);
    tasks.finished().await;
}

struct Election(watch::Receiver<bool>);

impl Elector for Election {
    fn leadership(&self, _controller: &str) -> Leadership {
        Leadership::following(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_works() {
    let mut world = World::new();
    let (lead, is_leading) = watch::channel(false);
    world.context = world.context.clone().with_leader(Arc::new(Election(is_leading)));
    world.start();
    world.create(&deployment("a", 1)).await;
    settle().await;
    assert_eq!(world.pods(), 0);
    lead.send_replace(true);
    eventually("it works", || world.pods() == 1).await;
    lead.send_replace(false);
    settle().await;
    world.create(&deployment("b", 1)).await;
    settle().await;
    assert_eq!(world.pods(), 1);
    lead.send_replace(true);
    eventually("it works again", || world.pods() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_explained() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 1)).await;
    eventually("one pod", || world.status("d")["replicas"] == 1).await;
    settle().await;
    let told = world.context.explain.explain("Deployment", &Key::new("n", "d")).unwrap();
    let told = &told["workload"];
    assert_eq!(told["observed"]["pods"].as_array().unwrap().len(), 1);
    assert_eq!(told["plan"]["finalizer"], json!({"add": FINALIZER}));
    assert_eq!(told["last"]["outcome"], "done");
    assert!(world.context.explain.explain("Deployment", &Key::new("n", "x")).is_none());
    drop(world.context.informers.get::<Deployment>(Scope::all()));
}
