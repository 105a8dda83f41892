//! Jobs in bad weather: whatever dies between any two writes, every Pod that has ended is counted, and none twice.

use serde_json::{Value, json};
use simulation::run::{Replay, SETTLING, beside, deaths, in_virtual_time};
use simulation::script::condition;
use simulation::{Climate, Death, User, World, laws};

const SEEDS: std::ops::Range<u64> = 200..204;
const BATCH: &str = "batch/v1";
const PODS: i64 = 12;

#[test]
fn every_pod_is_counted_once() {
    for seed in SEEDS {
        let _replay = Replay(seed);
        let appends = run(seed, Climate::CALM, Vec::new());
        run(seed, Climate::STORMY, deaths(seed, appends));
    }
}

fn job(name: &str, mode: &str) -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/image:1"}]});
    json!({
        "apiVersion": BATCH, "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"completions": PODS, "parallelism": 3, "completionMode": mode, "template": {"spec": pod}},
    })
}

/// Two Jobs, to their ends. How many writes reached the disk.
fn run(seed: u64, climate: Climate, deaths: Vec<Death>) -> u64 {
    in_virtual_time(async {
        let world = World::start(seed, climate, deaths).await;
        beside(&world, async {
            let user = world.user();
            for (name, mode) in [("plain", "NonIndexed"), ("indexed", "Indexed")] {
                user.create(job(name, mode)).await;
            }
            for name in ["plain", "indexed"] {
                let is_complete = |job: &Value| condition(job, "Complete") == "True";
                user.until((BATCH, "Job", name), "complete", is_complete).await;
            }
            world.meet_deaths().await;
            world.weather.turn(Climate::CALM);
            for name in ["plain", "indexed"] {
                user.until((BATCH, "Job", name), "counted", is_counted).await;
            }
            // That it stays so has no level to wait for.
            tokio::time::sleep(SETTLING).await;
            laws::at_rest(&world).await;
            counted(user, "plain").await;
            counted(user, "indexed").await;
        })
        .await;
        world.appends()
    })
}

/// Nothing is left to count.
fn is_counted(job: &Value) -> bool {
    let status = &job["status"];
    status["uncountedTerminatedPods"] == json!({}) && status["active"].is_null()
}

async fn counted(user: User<'_>, name: &str) {
    let status = user.get(BATCH, "Job", name).await.unwrap_or_default()["status"].take();
    let mut pods = user.list("v1", "Pod").await;
    pods.retain(|pod| pod["metadata"]["ownerReferences"][0]["name"] == name);
    let succeeded = pods.iter().filter(|pod| pod["status"]["phase"] == "Succeeded").count();
    let has_finalizers = pods.iter().any(|pod| pod["metadata"]["finalizers"].is_array());
    assert!(!has_finalizers, "{name} let its Pods go");
    assert!(is_counted(&json!({"status": status})) && status["failed"].is_null(), "{name}: {status}");
    if name == "indexed" {
        assert_eq!(status["completedIndexes"], format!("0-{}", PODS - 1));
        assert_eq!(status["succeeded"], PODS);
        assert!(succeeded >= usize::try_from(PODS).unwrap(), "{succeeded} Pods for {PODS} indexes");
    } else {
        // One that was made by a write whose answer was lost may be one too many; it counts all the same.
        assert!(status["succeeded"].as_i64() >= Some(PODS), "{name}: {status}");
        assert_eq!(status["succeeded"], succeeded, "{name} has counted as many as there are");
    }
}
