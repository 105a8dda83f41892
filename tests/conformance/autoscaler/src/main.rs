//! Kwick's autoscaler beside Knative's own. Drawn from a seed and asked of both are
//!
//! - traces: settings, reports, pods that come and go, ticks. What is compared at each step: what follows from settings, what is measured, how
//!   many pods are wanted, and the room for a burst;
//! - scenes: a PodAutoscaler and all that its reconciliation looks at. What is compared: replicas, who stands in front of the pods, the status.
//!
//! Where to start: [`generate`] draws, [`kwick`] and [`scene`] call the functions that production calls, [`oracle`] asks
//! `tools/autoscaler-oracle`, which calls Knative's packages, and [`compare`] says what is the same. `data/known.yaml` lists what is meant to
//! differ; anything else fails. `cargo xtask test --only autoscaler` builds both and runs it.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | both decide the same, but for what is known |
//! | 1 | it could not be compared: Knative's autoscaler does not start, or does not answer |
//! | 3 | they differ |
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod compare;
mod generate;
mod known;
mod kwick;
mod oracle;
mod question;
mod scene;
mod shrink;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::time::Instant;

use known::Known;
use oracle::Oracle;
use question::{Difference, Question, Sort};
use scene::Scene;
use trace::Trace;

/// The exit code that says that they differ in something that is not known.
const DIFFERS: u8 = 3;

/// Compares Kwick's autoscaler with Knative's.
#[derive(Parser)]
struct Options {
    /// The program of tools/autoscaler-oracle
    #[arg(long)]
    oracle: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many traces are drawn
    #[arg(long, default_value_t = 1000)]
    traces: u64,
    /// How many scenes are drawn
    #[arg(long, default_value_t = 1000)]
    scenes: u64,
    /// Only the trace and the scene of this number
    #[arg(long)]
    only: Option<u64>,
}

/// Differences of one sort.
struct Group {
    count: usize,
    /// The question that shows it first, and how.
    first: (u64, Difference),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERS),
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it should be.
fn run(options: &Options) -> Result<bool> {
    let known = Known::load()?;
    let mut oracle = Oracle::start(&options.oracle)?;
    let unexplained = judge::<Trace>(options, options.traces, &mut oracle, &known)?
        + judge::<Scene>(options, options.scenes, &mut oracle, &known)?;
    oracle.stop()?;
    Ok(unexplained == 0)
}

/// Asks so many questions of one kind; how many sorts of differences are not known.
fn judge<Q: Question>(options: &Options, count: u64, oracle: &mut Oracle, known: &Known) -> Result<usize> {
    let (seed, name) = (options.seed, Q::NAME);
    let numbers = options.only.map_or(0..count, |number| number..number + 1);
    let begun = Instant::now();
    let (mut groups, mut points) = (BTreeMap::<Sort, Group>::new(), 0);
    oracle.answers::<Q>(numbers.clone(), seed, |number, question, answer| {
        points += question.points();
        for difference in question.compare(answer).with_context(|| format!("{name} {number}"))? {
            let sort = difference.sort.clone();
            groups.entry(sort).or_insert(Group { count: 0, first: (number, difference) }).count += 1;
        }
        Ok(())
    })?;
    let took = begun.elapsed().as_secs_f64();
    let mut unexplained = 0;
    for (sort, group) in &groups {
        let (number, first) = &group.first;
        if let Sort::Caused(cause) = sort
            && let Some(reason) = known.reason(*cause)
        {
            println!("known: {cause:?}: {} times, first in {name} {number}: {reason}", group.count);
            continue;
        }
        unexplained += 1;
        println!("\n■ {sort:?}: {} times\n  first in {name} {number}: {first:?}", group.count);
        let small = shrink::shrink(oracle, Q::draw(seed, *number), sort)?;
        show(oracle, &small, sort)?;
    }
    println!(
        "seed {seed}: {} {name}s with {points} decisions in {took:.1} s; {} sorts of differences, {unexplained} of them unexplained",
        numbers.end - numbers.start,
        groups.len()
    );
    Ok(unexplained)
}

/// Prints a small question and the differences of this sort.
fn show<Q: Question>(oracle: &mut Oracle, question: &Q, sort: &Sort) -> Result<()> {
    let answer = oracle.answer(question)?;
    for difference in question.compare(&answer)?.iter().filter(|difference| difference.sort == *sort) {
        let step = difference.step.map(|step| format!(" at step {step}")).unwrap_or_default();
        println!("  Kwick:   {}\n  Knative: {}{step}", difference.kwick, difference.knative);
    }
    println!("  {}", serde_json::to_string(question)?);
    Ok(())
}
