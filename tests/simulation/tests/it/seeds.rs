//! In bad weather: the same end as in good weather, whatever happened in between.

use cluster_apiserver::store::journal::memory::CrashPoint;
use rand::TryRngCore;
use rand::rngs::OsRng;
use simulation::{Climate, World, script, state};

use super::{beside, in_virtual_time};

/// The seeds of every full run.
const SEEDS: std::ops::Range<u64> = 100..103;

fn run(seed: u64) {
    let in_good = end_of(seed, Climate::CALM);
    let in_bad = end_of(seed, Climate::STORMY);
    let difference = state::difference(&in_good, &in_bad);
    assert!(
        difference.is_empty(),
        "seed {seed} ends elsewhere than in good weather (left: good, right: bad); \
         replay: KWICK_SIM_SEED={seed} cargo test -p simulation one_seed\n{difference}"
    );
}

fn end_of(seed: u64, climate: Climate) -> std::collections::BTreeMap<String, serde_json::Value> {
    in_virtual_time(async {
        let world = World::start(seed, climate).await;
        if climate.death > 0.0 {
            // Once, the whole machine dies in the middle of a write; what was not on its disk yet is lost.
            let point = if seed.is_multiple_of(2) { CrashPoint::Before } else { CrashPoint::After };
            world.disk().crash_at(10 + seed % 90, point);
        }
        beside(&world, async {
            script::run(&world, seed).await;
            world.weather.turn(Climate::CALM);
            tokio::time::sleep(std::time::Duration::from_secs(120)).await;
            let counts = world.weather.counts();
            println!("seed {seed}: {counts:?}");
            assert_eq!(counts.contains_key("death of the machine"), climate.death > 0.0, "seed {seed}");
            state::of(&world).await
        })
        .await
    })
}

#[test]
#[ignore = "a seed does not replay exactly yet, and about one run in thirty leaves an Endpoints object of a deleted Service; in test --full"]
fn fixed_seeds() {
    SEEDS.for_each(run);
}

/// One seed, given by `KWICK_SIM_SEED`, or `KWICK_SIM_SEEDS` fresh ones.
#[test]
fn one_seed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("KWICK_SIM_SEED") {
        run(seed);
    }
    for _ in 0..number("KWICK_SIM_SEEDS").unwrap_or_default() {
        run(OsRng.try_next_u64().unwrap());
    }
}
