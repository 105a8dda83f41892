//! What must hold at every moment, and at rest, whatever the weather.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use serde_json::Value;

use crate::script::{SERVING, is_ready};
use crate::state::KINDS;
use crate::user::User;
use crate::world::World;

/// How often the moment is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// Owners of Pods that no Service makes.
const JOBS: (&str, &str) = ("batch/v1", "Job");
const NETWORKING: &str = "networking.internal.knative.dev/v1alpha1";

/// Looks at the world again and again. Never returns; what is against the laws fails the test.
pub(crate) async fn watch_over(world: &World) -> Infallible {
    loop {
        tokio::time::sleep(PERIOD).await;
        let user = world.user();
        for ingress in user.list(NETWORKING, "Ingress").await {
            splits_sum_to_100(&ingress);
        }
        for route in user.list(SERVING, "Route").await {
            traffic_sums_to_100(&route);
            its_revisions_are_there(user, &route).await;
        }
    }
}

fn items<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn percent(item: &Value) -> i64 {
    item["percent"].as_i64().unwrap_or_default()
}

fn splits_sum_to_100(ingress: &Value) {
    let paths = items(ingress, "/spec/rules").flat_map(|rule| items(rule, "/http/paths"));
    for path in paths {
        let sum: i64 = items(path, "/splits").map(percent).sum();
        assert_eq!(sum, 100, "splits of Ingress {}: {path}", ingress["metadata"]["name"]);
    }
}

fn traffic_sums_to_100(route: &Value) {
    let percents: Vec<i64> = items(route, "/status/traffic").map(percent).collect();
    assert!(percents.is_empty() || percents.iter().sum::<i64>() == 100, "traffic of Route {route}");
}

/// A Revision that a Route says it leads to has not been collected, unless both go with their Service.
async fn its_revisions_are_there(user: User<'_>, route: &Value) {
    let name = route["metadata"]["name"].as_str().unwrap();
    for target in items(route, "/status/traffic") {
        let revision = target["revisionName"].as_str().unwrap();
        if user.get(SERVING, "Revision", revision).await.is_some() {
            continue;
        }
        // What was seen may have changed meanwhile.
        let now = user.get(SERVING, "Route", name).await.unwrap_or_default();
        let leads_there = items(&now, "/status/traffic").any(|target| target["revisionName"] == revision);
        let is_owned = user.get(SERVING, "Service", name).await.is_some();
        assert!(!leads_there || !is_owned, "Revision {revision} is gone, and Route {name} leads to it: {now}");
    }
}

/// At rest every Service is ready and nothing is without its owner.
pub async fn at_rest(world: &World) {
    let user = world.user();
    for service in user.list(SERVING, "Service").await {
        assert!(is_ready(&service), "not ready: {service}");
    }
    let mut objects = Vec::new();
    for (api_version, kind) in KINDS.into_iter().chain([JOBS]) {
        objects.extend(user.list(api_version, kind).await);
    }
    let uid = |object: &Value| object["uid"].as_str().unwrap_or_default().to_owned();
    let uids: BTreeSet<String> = objects.iter().map(|object| uid(&object["metadata"])).collect();
    for object in &objects {
        for owner in items(object, "/metadata/ownerReferences") {
            assert!(uids.contains(&uid(owner)), "an orphan: {object}");
        }
    }
}
