//! One seed in good and in bad weather: the same end, whatever happened in between.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use cluster_apiserver::store::journal::memory::CrashPoint;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::{Climate, Death, Faults, World, at_work, laws, script, state};

/// How often the machine dies in bad weather.
const DEATHS: usize = 2;
/// How long everything has to come to rest, and to show that it stays so: longer than what is tried again or collected later takes.
pub const SETTLING: Duration = Duration::from_secs(120);

/// What a run came to.
#[derive(Debug)]
pub struct End {
    /// What there is in the end, by kind and name.
    pub objects: BTreeMap<String, serde_json::Value>,
    /// How many writes reached the disk.
    pub appends: u64,
    /// A hash of everything that passed.
    pub trace: u64,
    /// What has happened.
    pub faults: Faults,
}

/// Says how to replay a seed when it fails while this lives.
#[derive(Debug)]
pub struct Replay(pub u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0} failed; replay: cargo run -p simulation -- --seed {0}", self.0);
        }
    }
}

/// Runs a seed in both weathers; what happened in the bad one. Fails if it does not end as in the good one.
pub fn in_both_weathers(seed: u64) -> Faults {
    let _replay = Replay(seed);
    let in_good = end_of(seed, Climate::CALM, Vec::new());
    let in_bad = end_of(seed, Climate::STORMY, deaths(seed, in_good.appends));
    let difference = state::difference(&in_good.objects, &in_bad.objects);
    assert!(difference.is_empty(), "it ends elsewhere than in good weather (left: good, right: bad):\n{difference}");
    in_bad.faults
}

/// Runs the script of a seed in this weather.
pub fn end_of(seed: u64, climate: Climate, deaths: Vec<Death>) -> End {
    in_virtual_time(async {
        let count = deaths.len() as u64;
        let world = World::start(seed, climate, deaths).await;
        let objects = beside(&world, async {
            script::run(&world, seed).await;
            world.meet_deaths().await;
            world.weather.turn(Climate::CALM);
            tokio::time::sleep(SETTLING).await;
            laws::at_rest(&world).await;
            state::of(&world).await
        })
        .await;
        let (faults, trace, appends) = (world.weather.faults(), world.weather.trace(), world.appends());
        let died = faults.get(&("death", "machine".to_owned())).copied().unwrap_or_default();
        assert_eq!(died, count, "the machine died as often as planned");
        End { objects, appends, trace, faults }
    })
}

/// When the machine dies: anywhere in a run with so many writes to its disk. In bad weather there are more of them, or a few less.
pub fn deaths(seed: u64, appends: u64) -> Vec<Death> {
    let mut random = SmallRng::seed_from_u64(seed ^ 0x6465_6174_6873);
    let mut draw = || {
        let point = if random.random_bool(0.5) { CrashPoint::Before } else { CrashPoint::After };
        Death { append: random.random_range(1..=appends), point }
    };
    std::iter::repeat_with(&mut draw).take(DEATHS).collect()
}

/// Runs `test` beside a world that heals itself, in virtual time.
pub fn in_virtual_time<T>(test: impl Future<Output = T>) -> T {
    at_work::remember();
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test)
}

/// `script`, while `world` lives.
pub async fn beside<T>(world: &World, script: impl Future<Output = T>) -> T {
    // The whole control plane is in it.
    let life: Pin<Box<dyn Future<Output = Infallible> + '_>> = Box::pin(world.live());
    tokio::select! {
        biased;
        never = life => match never {},
        done = script => done,
    }
}
