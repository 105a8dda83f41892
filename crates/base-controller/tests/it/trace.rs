//! Determinism: under the paused clock a seed gives one trace, in any weather.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::fake_api::{Failure, FakeApi};
use crate::workload::{World, deployment, eventually};

const DEPLOYMENTS: i32 = 20;

/// One run of a seed: conflicts, failures, slow and lost answers, cut watches and forgotten histories; everything settles in the end.
async fn run(seed: u64) -> (u64, usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    let api = FakeApi::default();
    let mut delays = SmallRng::seed_from_u64(seed + 1);
    api.delay(move || Duration::from_micros(delays.random_range(0..20_000)));
    let world = World::with_seed(api, seed);
    world.controller().with_resync(Duration::from_secs(60)).start();
    for n in 0..DEPLOYMENTS {
        world.create(&deployment(&format!("d{n:02}"), n % 4)).await;
    }
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2000))).await;
        match random.random_range(0..7) {
            0 => world.api.cut_watches(),
            1 => {
                world.api.cut_watches();
                world.api.forget_history();
            }
            2 => world.api.withhold(),
            3 => world.api.release(),
            4 => world.api.fail("PUT", Failure(409, "Conflict", "somebody was faster".into())),
            5 => world.api.lose_answer("pods"),
            _ => world.api.fail("POST", Failure(503, "ServiceUnavailable", "not now".into())),
        }
        let name = format!("d{:02}", random.random_range(0..DEPLOYMENTS));
        let replicas = random.random_range(0..6);
        let api: kube::Api<Deployment> = kube::Api::namespaced(world.client.clone(), "n");
        let mut changed = api.get(&name).await.unwrap();
        changed.spec.replicas = Some(replicas);
        // The weather may refuse it; the run is the same each time all the same.
        let _ = api.replace(&name, &Default::default(), &changed).await;
    }
    world.api.release();
    let is_true = |name: &str| {
        let deployment = world.api.object(crate::workload::DEPLOYMENTS, name).unwrap();
        deployment["spec"]["replicas"] == deployment["status"]["replicas"]
    };
    eventually("every deployment is true", || (0..DEPLOYMENTS).all(|n| is_true(&format!("d{n:02}")))).await;
    let wanted: i64 =
        world.api.objects(crate::workload::DEPLOYMENTS).iter().map(|d| d["spec"]["replicas"].as_i64().unwrap()).sum();
    eventually("as many pods as wanted", || world.pods() as i64 == wanted).await;
    let trace = world.trace.lock().unwrap().clone();
    let mut hasher = DefaultHasher::new();
    trace.hash(&mut hasher);
    world.api.objects(crate::workload::PODS).iter().for_each(|pod| pod.to_string().hash(&mut hasher));
    (hasher.finish(), trace.len())
}

fn run_once(seed: u64) -> (u64, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(seed))
}

#[test]
fn a_seed_gives_one_trace() {
    for seed in [1, 2, 3] {
        let runs: Vec<_> = (0..5).map(|_| run_once(seed)).collect();
        assert!(runs.iter().all(|run| *run == runs[0]), "seed {seed}: {runs:?}");
        assert!(runs[0].1 > 100, "{} plans", runs[0].1);
    }
    assert_ne!(run_once(1), run_once(2), "the trace tells seeds apart");
}
