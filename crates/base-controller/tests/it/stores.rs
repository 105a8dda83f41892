//! Configuration from ConfigMaps, and Kubernetes Events.

use std::collections::BTreeMap;
use std::num::ParseIntError;

use base_controller::PlanEvent;
use base_controller::config_store::{ConfigName, ConfigStore};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use serde_json::{Value, json};

use crate::fake_api::Failure;
use crate::workload::{World, config_map, deployment, eventually, settle};

const EVENTS: &str = "api/v1/events";
const NAME: ConfigName = ConfigName { name: "config-x", known_keys: &["stable-window"] };

fn parse(data: &BTreeMap<String, String>) -> Result<u32, ParseIntError> {
    data.get("stable-window").map_or(Ok(60), |text| text.parse())
}

fn data(value: Value) -> impl FnOnce(&mut ConfigMap) {
    move |map| map.data = serde_json::from_value(value).unwrap()
}

fn messages(world: &World) -> Vec<String> {
    world.api.objects(EVENTS).iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_map_is_a_level_and_a_bad_one_keeps_the_last_good_value() {
    let world = World::new();
    let store = ConfigStore::new(&world.context, "n");
    let value = store.follow(NAME, parse);
    store.synced().await;
    assert_eq!(**value.borrow(), 0, "missing: the default");
    world.create(&config_map("config-x", json!({"stable-window": "30", "_example": "…"}))).await;
    eventually("30", || **value.borrow() == 30).await;
    assert!(messages(&world).is_empty());
    world.update("config-x", data(json!({"stable-window": "soon"}))).await;
    let expected = "invalid digit found in string; the last good configuration stays in force";
    eventually("an event says so", || messages(&world) == [expected]).await;
    assert_eq!(**value.borrow(), 30);
    world.update("config-x", data(json!({"stable-window": "40", "stabel-window": "50"}))).await;
    eventually("40", || **value.borrow() == 40).await;
    eventually("the unknown key is named", || messages(&world).len() == 2).await;
    let expected = "unknown key \"stabel-window\", did you mean \"stable-window\"?";
    assert!(messages(&world).contains(&expected.to_owned()), "{:?}", messages(&world));
    world.delete::<ConfigMap>("config-x").await;
    eventually("the default again", || **value.borrow() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_is_counted() {
    let world = World::new();
    let about = |name: &str| ObjectReference {
        kind: Some("Pod".into()),
        name: Some(name.into()),
        namespace: Some("n".into()),
        ..ObjectReference::default()
    };
    let events = &world.context.events;
    for _ in 0..3 {
        events.record(about("a"), PlanEvent::warning("Broken", "it is broken"));
    }
    events.record(about("b"), PlanEvent::warning("Broken", "it is broken"));
    settle().await;
    let counts: Vec<_> = world.api.objects(EVENTS).iter().map(|event| event["count"].clone()).collect();
    assert_eq!(counts, [3, 1]);
    let first = &world.api.objects(EVENTS)[0];
    assert_eq!((&first["type"], &first["source"]["component"]), (&json!("Warning"), &json!("test")));
    world.api.fail("POST", Failure(500, "InternalError", "not now".into()));
    events.record(about("c"), PlanEvent::normal("Lost", "nobody will know"));
    settle().await;
    assert_eq!(world.metric("events_lost_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_plans_events_are_recorded_about_its_object() {
    let world = World::new();
    world.start();
    world.create(&deployment("d", 2)).await;
    eventually("an event", || messages(&world) == ["to 2"]).await;
    assert_eq!(world.api.objects(EVENTS)[0]["involvedObject"]["kind"], "Deployment");
}
