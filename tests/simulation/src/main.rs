//! Simulates many seeds: the whole control plane in bad weather, which must end as in good weather.
//!
//! ```text
//! simulate --seeds 60        the first sixty of the fixed ones, one on each core at a time
//! simulate --seeds 300 --enough    … and enough has to happen to every controller and every watch
//! simulate --fresh 5         five that nobody has seen
//! simulate --seed 104        one again
//! ```
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for a terminal, and a failing seed ends it")]

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use clap::Parser;
use rand::TryRngCore;
use rand::rngs::OsRng;
use simulation::run::in_both_weathers;
use simulation::{CONTROLLERS, Faults};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first of the fixed seeds.
const FIRST: u64 = 100;
/// Enough has happened when so much has, in 300 seeds;
const FAULTS_PER_SEED: u64 = 167;
/// and this often each of these to each of Serving's controllers,
const OFTEN: u64 = 20;
const OF_WRITES: [&str; 5] = ["conflict", "refused", "unanswered", "death before", "death after"];
/// and each of these to the watches by which they see.
const OF_WATCHES: [&str; 3] = ["lost watch", "expired watch", "stuck event"];
const WATCHED: [&str; 11] = [
    "configurations",
    "deployments",
    "domainmappings",
    "endpoints",
    "ingresses",
    "podautoscalers",
    "pods",
    "revisions",
    "routes",
    "serverlessservices",
    "services",
];
/// After so many seeds a line says how far it is.
const PROGRESS: u64 = 20;

/// Simulates the whole control plane in virtual time: conflicts, refusals, lost answers, lost and late watches, deaths of the controllers and
/// of the machine. A seed decides everything, and its end must be that of good weather
#[derive(Parser)]
#[command(name = "simulate")]
struct Cli {
    /// So many of the fixed seeds
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    seeds: u64,
    /// Fail if too little happens in them
    #[arg(long)]
    enough: bool,
    /// So many fresh seeds
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    fresh: u64,
    /// This seed
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let fixed = run_all(FIRST..FIRST + cli.seeds);
    if cli.seeds > 0 {
        println!("{} seeds, {} faults", cli.seeds, total(&fixed));
    }
    if cli.enough {
        enough(&fixed, cli.seeds)?;
    }
    for seed in cli.seed.into_iter().chain((0..cli.fresh).map(|_| OsRng.try_next_u64().unwrap())) {
        println!("seed {seed}: {} faults", total(&in_both_weathers(seed)));
    }
    Ok(())
}

/// Runs seeds, one on each core at a time; all that happened.
fn run_all(seeds: Range<u64>) -> Faults {
    let count = seeds.end - seeds.start;
    let (seeds, done) = (Mutex::new(seeds), AtomicU64::new(0));
    let next = || seeds.lock().unwrap().next();
    let run = |seed| {
        let faults = in_both_weathers(seed);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(PROGRESS) {
            println!("{done} of {count} seeds");
        }
        faults
    };
    let work = || std::iter::from_fn(next).map(run).fold(Faults::new(), sum);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Faults::new(), sum)
    })
}

fn sum(mut sum: Faults, other: Faults) -> Faults {
    other.into_iter().for_each(|(what, count)| *sum.entry(what).or_default() += count);
    sum
}

fn total(faults: &Faults) -> u64 {
    faults.values().sum()
}

/// Prints how often each controller and each watch was met.
///
/// # Errors
/// That was not often enough.
fn enough(faults: &Faults, seeds: u64) -> Result<()> {
    let mut rare = table(faults, &CONTROLLERS, &OF_WRITES);
    rare.extend(table(faults, &WATCHED, &OF_WATCHES));
    if total(faults) < seeds * FAULTS_PER_SEED {
        rare.push(format!("{} faults in all", total(faults)));
    }
    if !rare.is_empty() {
        bail!("too little happened: {}", rare.join(", "));
    }
    Ok(())
}

/// Prints a table, a line for each of `whom`; what is rare in it.
fn table(faults: &Faults, whom: &[&str], what: &[&'static str]) -> Vec<String> {
    let mut rare = Vec::new();
    println!("{:20}{}", "", what.iter().map(|what| format!("{what:>15}")).collect::<String>());
    for whom in whom {
        let count = |what: &&'static str| faults.get(&(*what, (*whom).to_owned())).copied().unwrap_or_default();
        println!("{whom:20}{}", what.iter().map(|what| format!("{:15}", count(what))).collect::<String>());
        rare.extend(what.iter().filter(|what| count(what) < OFTEN).map(|what| format!("{whom}: {what}")));
    }
    rare
}
