//! What a user does in a seeded run: the same with and without weather, so that the ends can be compared.
//!
//! A step begins when the one before it has arrived, because which Revisions there are depends on what was seen of the Service between two
//! changes of it.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::world::World;

/// The group and version of Knative's kinds for users.
pub const SERVING: &str = "serving.knative.dev/v1";
const NAMES: [&str; 2] = ["alpha", "beta"];
/// No requests for longer than it takes to go to zero.
const REST: Duration = Duration::from_secs(150);

/// Revisions that no Route leads to go at once.
const COLLECT_AT_ONCE: [(&str, &str); 4] = [
    ("retain-since-create-time", "disabled"),
    ("retain-since-last-active-time", "disabled"),
    ("min-non-active-revisions", "0"),
    ("max-non-active-revisions", "0"),
];

/// A domain of the user's own, which leads to one of the Services.
const DOMAIN: &str = "shop.example.org";
/// What maps it: group and version, kind, name.
const MAPPING: (&str, &str, &str) = ("serving.knative.dev/v1beta1", "DomainMapping", DOMAIN);

/// A Service as a user writes it.
pub fn service(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": SERVING, "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
    })
}

/// The domain, leading to a Service.
fn mapping(to: &str) -> Value {
    json!({
        "apiVersion": MAPPING.0, "kind": MAPPING.1, "metadata": {"name": DOMAIN, "namespace": "default"},
        "spec": {"ref": {"apiVersion": SERVING, "kind": "Service", "name": to}},
    })
}

/// Whether an object is ready in its present generation.
pub fn is_ready(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"] && condition(object, "Ready") == "True"
}

/// The status of a condition, empty if there is none.
pub fn condition<'a>(object: &'a Value, name: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// Runs a script that is drawn from `seed` and ends at rest.
pub async fn run(world: &World, seed: u64) {
    let user = world.user();
    let mut random = SmallRng::seed_from_u64(seed);
    let settings: serde_json::Map<_, _> =
        COLLECT_AT_ONCE.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    user.merge("v1", "ConfigMap", "config-gc", &json!({ "data": settings })).await;
    for name in NAMES {
        user.create(service(name, "example.com/image:1")).await;
        user.until((SERVING, "Service", name), "ready", is_ready).await;
    }
    user.merge("v1", "ConfigMap", "config-network", &json!({"data": {"autocreate-cluster-domain-claims": "true"}}))
        .await;
    user.create(mapping(NAMES[0])).await;
    user.until(MAPPING, "ready", is_ready).await;
    for step in 2..5 {
        let name = NAMES[random.random_range(0..NAMES.len())];
        let service = user.get(SERVING, "Service", name).await.unwrap_or_default();
        let revision = service["status"]["latestReadyRevisionName"].as_str().unwrap_or_default();
        match random.random_range(0..5) {
            0 | 1 => {
                let image = format!("example.com/image:{step}");
                let patch = json!({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
                user.merge(SERVING, "Service", name, &patch).await;
            }
            2 => {
                let percent = random.random_range(0..=100);
                let traffic = json!([
                    {"revisionName": revision, "percent": percent, "tag": "old"},
                    {"latestRevision": true, "percent": 100 - percent},
                ]);
                user.merge(SERVING, "Service", name, &json!({"spec": {"traffic": traffic}})).await;
            }
            3 => {
                user.merge(MAPPING.0, MAPPING.1, DOMAIN, &json!({"spec": mapping(name)["spec"]})).await;
                user.until(MAPPING, "ready", is_ready).await;
            }
            _ => {
                world.load("default", revision, random.random_range(1.0..500.0));
                tokio::time::sleep(Duration::from_secs(random.random_range(1..40))).await;
                world.unload();
            }
        }
        user.until((SERVING, "Service", name), "ready", is_ready).await;
    }
    if random.random_bool(0.5) {
        user.delete(MAPPING.0, MAPPING.1, DOMAIN).await;
        user.delete(SERVING, "Service", NAMES[1]).await;
    }
    tokio::time::sleep(REST).await;
}
