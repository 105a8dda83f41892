//! In bad weather: the same end as in good weather, whatever happened in between.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_apiserver::store::journal::memory::CrashPoint;
use rand::rngs::{OsRng, SmallRng};
use rand::{Rng, SeedableRng, TryRngCore};
use simulation::{Climate, Death, World, laws, script, state};

use super::{beside, in_virtual_time};

/// The seeds that gate every run, and those of a full run.
const FEW: std::ops::Range<u64> = 100..104;
const MANY: std::ops::Range<u64> = 104..164;
/// How often the machine dies in bad weather.
const DEATHS: usize = 2;
/// How long everything has to come to rest, and to show that it stays so: longer than what is tried again or collected later takes.
pub(super) const SETTLING: Duration = Duration::from_secs(120);

/// What a run came to.
struct End {
    objects: BTreeMap<String, serde_json::Value>,
    appends: u64,
    /// A hash of everything that passed.
    trace: u64,
}

/// Says how to replay a seed when the test fails while it runs.
pub(super) struct Replay(pub(super) u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {0} failed; replay: KWICK_SIM_SEED={0} cargo test -p simulation one_seed", self.0);
        }
    }
}

fn run(seed: u64) {
    let _replay = Replay(seed);
    let in_good = end_of(seed, Climate::CALM, Vec::new());
    let in_bad = end_of(seed, Climate::STORMY, deaths(seed, in_good.appends));
    let difference = state::difference(&in_good.objects, &in_bad.objects);
    assert!(difference.is_empty(), "it ends elsewhere than in good weather (left: good, right: bad):\n{difference}");
}

/// When the machine dies: anywhere in a run with so many writes to its disk. In bad weather there are more of them, or a few less.
pub(super) fn deaths(seed: u64, appends: u64) -> Vec<Death> {
    let mut random = SmallRng::seed_from_u64(seed ^ 0x6465_6174_6873);
    let mut draw = || {
        let point = if random.random_bool(0.5) { CrashPoint::Before } else { CrashPoint::After };
        Death { append: random.random_range(1..=appends), point }
    };
    std::iter::repeat_with(&mut draw).take(DEATHS).collect()
}

fn end_of(seed: u64, climate: Climate, deaths: Vec<Death>) -> End {
    in_virtual_time(async {
        let count = deaths.len() as u64;
        let world = World::start(seed, climate, deaths.clone()).await;
        let objects = beside(&world, async {
            script::run(&world, seed).await;
            world.meet_deaths().await;
            world.weather.turn(Climate::CALM);
            tokio::time::sleep(SETTLING).await;
            laws::at_rest(&world).await;
            state::of(&world).await
        })
        .await;
        let (counts, trace, appends) = (world.weather.counts(), world.weather.trace(), world.appends());
        println!("seed {seed}: trace {trace:016x}, {appends} appends, {deaths:?}, {counts:?}");
        assert_eq!(counts.get("death of the machine").copied().unwrap_or_default(), count);
        End { objects, appends, trace }
    })
}

#[test]
fn fixed_seeds() {
    FEW.for_each(run);
}

#[test]
#[ignore = "it takes minutes: in test --full"]
fn many_seeds() {
    MANY.for_each(run);
}

#[test]
fn a_seed_replays_exactly() {
    let [first, second] = [(); 2].map(|()| end_of(7, Climate::STORMY, deaths(7, 400)).trace);
    assert_eq!(first, second, "the same seed ran in two ways");
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
