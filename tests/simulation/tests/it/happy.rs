//! In good weather: what a user of Knative sees.

use serde_json::json;
use simulation::run::{beside, in_virtual_time};
use simulation::script::{SERVING, condition, is_ready, service};
use simulation::{Climate, User, World, state};

const APPS: &str = "apps/v1";
const PA: &str = "autoscaling.internal.knative.dev/v1alpha1";
const NETWORKING: &str = "networking.internal.knative.dev/v1alpha1";

async fn until_replicas(user: User<'_>, deployment: &str, count: std::ops::RangeInclusive<i64>) {
    let what = format!("{count:?} replicas");
    user.until((APPS, "Deployment", deployment), &what, |deployment| {
        let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(-1);
        let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
        count.contains(&wanted) && wanted == ready
    })
    .await;
}

#[test]
fn from_zero_to_many_and_back() {
    in_virtual_time(async {
        let world = World::start(1, Climate::CALM, Vec::new()).await;
        beside(&world, async {
            let user = world.user();
            user.create(service("hello", "example.com/hello")).await;
            user.until((SERVING, "Service", "hello"), "ready", is_ready).await;

            let made = user.get(SERVING, "Service", "hello").await.unwrap();
            assert_eq!(made["status"]["url"], "http://hello.default.example.com");
            assert_eq!(made["status"]["address"]["url"], "http://hello.default.svc.cluster.local");
            assert_eq!(made["status"]["latestReadyRevisionName"], "hello-00001");
            assert_eq!(made["status"]["latestCreatedRevisionName"], "hello-00001");
            assert_eq!(
                made["status"]["traffic"],
                json!([{"latestRevision": true, "percent": 100, "revisionName": "hello-00001"}])
            );
            for name in ["Ready", "ConfigurationsReady", "RoutesReady"] {
                assert_eq!(condition(&made, name), "True", "{name}");
            }
            for (api_version, kind, name) in [
                (SERVING, "Configuration", "hello"),
                (SERVING, "Route", "hello"),
                (SERVING, "Revision", "hello-00001"),
                (PA, "PodAutoscaler", "hello-00001"),
                (NETWORKING, "ServerlessService", "hello-00001"),
                (NETWORKING, "Ingress", "hello"),
            ] {
                let object = user.get(api_version, kind, name).await.unwrap_or_else(|| panic!("{kind} {name}"));
                assert_eq!(condition(&object, "Ready"), "True", "{kind}: {}", object["status"]);
            }
            let revision = user.get(SERVING, "Revision", "hello-00001").await.unwrap();
            let image = revision["status"]["containerStatuses"][0]["imageDigest"].as_str().unwrap();
            assert!(image.starts_with("example.com/hello@sha256:"), "{image}");
            let placeholder = user.get("v1", "Service", "hello").await.unwrap();
            assert_eq!(placeholder["spec"]["type"], "ExternalName");
            assert_eq!(placeholder["spec"]["externalName"], "gateway-internal.kwick-system.svc.cluster.local");

            until_replicas(user, "hello-00001-deployment", 0..=0).await;
            user.until((PA, "PodAutoscaler", "hello-00001"), "inactive", |pa| condition(pa, "Active") == "False").await;
            user.until(("v1", "Endpoints", "hello-00001"), "the activator's", |endpoints| {
                endpoints["subsets"][0]["addresses"][0]["targetRef"]["namespace"] == "knative-serving"
            })
            .await;
            let asleep = user.get(SERVING, "Service", "hello").await.unwrap();
            assert_eq!(condition(&asleep, "Ready"), "True", "at zero it is still ready: {}", asleep["status"]);

            world.load("default", "hello-00001", 1.0);
            until_replicas(user, "hello-00001-deployment", 1..=1).await;
            world.load("default", "hello-00001", 500.0);
            until_replicas(user, "hello-00001-deployment", 7..=10).await;
            world.unload();
            until_replicas(user, "hello-00001-deployment", 0..=0).await;
        })
        .await;
    });
}

#[test]
fn a_split_between_revisions() {
    in_virtual_time(async {
        let world = World::start(2, Climate::CALM, Vec::new()).await;
        beside(&world, async {
            let user = world.user();
            user.create(service("hello", "example.com/hello")).await;
            user.until((SERVING, "Service", "hello"), "ready", is_ready).await;
            let second = json!({"spec": {
                "template": {"spec": {"containers": [{"image": "example.com/hello:2"}]}},
                "traffic": [
                    {"revisionName": "hello-00001", "percent": 70, "tag": "old"},
                    {"latestRevision": true, "percent": 30},
                ],
            }});
            user.merge(SERVING, "Service", "hello", &second).await;
            user.until((SERVING, "Service", "hello"), "ready with two", |service| {
                is_ready(service) && service["status"]["latestReadyRevisionName"] == "hello-00002"
            })
            .await;
            let made = user.get(SERVING, "Service", "hello").await.unwrap();
            assert_eq!(
                made["status"]["traffic"],
                json!([
                    {
                        "latestRevision": false, "percent": 70, "revisionName": "hello-00001", "tag": "old",
                        "url": "http://old-hello.default.example.com",
                    },
                    {"latestRevision": true, "percent": 30, "revisionName": "hello-00002"},
                ])
            );
            let ingress = user.get(NETWORKING, "Ingress", "hello").await.unwrap();
            let hosts: Vec<_> =
                ingress["spec"]["rules"].as_array().unwrap().iter().map(|rule| &rule["hosts"]).collect();
            assert!(hosts.iter().any(|hosts| hosts.to_string().contains("old-hello.default.example.com")), "{hosts:?}");
        })
        .await;
    });
}

#[test]
fn what_is_deleted_leaves_nothing() {
    in_virtual_time(async {
        let world = World::start(3, Climate::CALM, Vec::new()).await;
        beside(&world, async {
            let user = world.user();
            user.create(service("hello", "example.com/hello")).await;
            user.until((SERVING, "Service", "hello"), "ready", is_ready).await;
            user.delete(SERVING, "Service", "hello").await;
            for (api_version, kind) in state::KINDS {
                for object in user.list(api_version, kind).await {
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    if name != "kubernetes" {
                        user.until((api_version, kind, &name), "gone", serde_json::Value::is_null).await;
                    }
                }
            }
            let left = state::of(&world).await;
            assert!(left.is_empty(), "{:?}", left.keys());
        })
        .await;
    });
}

#[test]
fn an_image_that_nobody_may_write_so_is_refused() {
    in_virtual_time(async {
        let world = World::start(4, Climate::CALM, Vec::new()).await;
        let user = world.user();
        let refusal = user.refusal(service("hello", "")).await;
        assert_eq!(refusal.code, 400);
        assert!(
            refusal.message.starts_with(
                "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: \
                 missing field(s): spec.template.spec.containers[0].image"
            ),
            "{}",
            refusal.message
        );
    });
}
