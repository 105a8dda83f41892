//! Knative Serving's own tests, as their authors compile them, against a running Kwick.
//!
//! ```text
//! install  images into the registry, the tests' own objects, the settings that they are written for
//! suites   what there is to run, with which switches
//! runner   one binary ► what each test came to
//! results  tests/conformance/results.md: what came out last, and why what does not pass does not
//! gate     tests/conformance/gate.txt: how often in a row each test has passed; from ten on it must
//! ```
//! A test that must pass and does not is run once more; both outcomes are printed, and the second one counts. What is compared is never
//! changed by a run, unless it is asked to write down what came out.

mod gate;
mod install;
mod results;
mod runner;
mod suites;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::place::Place;
use crate::until::is_interrupted;

use gate::Gate;
use install::Cluster;
use results::{Entry, Results};
use runner::{Choice, Outcome, State};
use suites::{SUITES, Suite};

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// The folder with the test binaries in `tests`, their images in `images.tar` and their objects in `config`
    #[arg(long)]
    suites: PathBuf,
    /// Where the tests' output is kept
    #[arg(long)]
    logs: PathBuf,
    /// Only this suite, or this test as SUITE/TEST; may be given several times
    #[arg(long, value_name = "SUITE[/TEST]")]
    only: Vec<String>,
    /// Write what came out into tests/conformance
    #[arg(long)]
    write: bool,
}

/// The name of a test: its suite and itself.
pub(crate) type Name = (&'static str, String);

/// Runs what is asked for; fails when a test did not pass that has to.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let folder = place.workspace("tests/conformance");
    let (results, gate) = (Results::load(&folder)?, Gate::load(&folder)?);
    std::fs::create_dir_all(&options.logs)?;
    let cluster = Cluster::start(place, &options.suites)?;
    let mut run = Run { options, cluster: &cluster, gate: &gate, outcomes: BTreeMap::new(), failed: Vec::new() };
    for suite in SUITES {
        let wanted = wanted(suite, options, &results)?;
        if !wanted.is_empty() && !is_interrupted() {
            run.suite(suite, &wanted)?;
        }
    }
    let Run { outcomes, failed, .. } = run;
    cluster.keep_log(&options.logs)?;
    cluster.down()?;
    if is_interrupted() {
        bail!("interrupted, so nothing is written down");
    }
    report(&outcomes, &results);
    if options.write {
        write(&outcomes, &folder)?;
    }
    if !failed.is_empty() {
        bail!("{} tests that have to pass failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// What `parse` makes of a kept file; nothing where there is none.
fn load<T: Default>(path: &Path, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn save(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes down what came out, beside what others may have written meanwhile.
fn write(outcomes: &BTreeMap<Name, Outcome>, folder: &Path) -> Result<()> {
    let (mut results, mut gate) = (Results::load(folder)?, Gate::load(folder)?);
    results.take(outcomes);
    gate.count(outcomes);
    results.save(folder)?;
    gate.save(folder)
}

/// The tests of a suite that this run is about: those that were asked for; else all that can be run, or every day those that are quick.
fn wanted(suite: &'static Suite, options: &Options, results: &Results) -> Result<Vec<String>> {
    let is_asked_for = |test: &str| {
        let is_it = |only: &String| {
            only.strip_prefix(suite.name).is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/') == Some(test))
        };
        options.only.iter().any(is_it)
    };
    let tests = runner::list(&suite.binary(&options.suites))?;
    Ok(tests
        .into_iter()
        .filter(|test| {
            if !options.only.is_empty() {
                return is_asked_for(test);
            }
            match results.entry(suite.name, test) {
                Some(Entry { state: State::NotRun, .. }) => false,
                entry => options.place.full || suite.is_everyday(entry),
            }
        })
        .collect())
}

/// A run in progress.
struct Run<'a> {
    options: &'a Options,
    cluster: &'a Cluster<'a>,
    gate: &'a Gate,
    outcomes: BTreeMap<Name, Outcome>,
    /// What had to pass and did not, at the second try.
    failed: Vec<String>,
}

impl Run<'_> {
    fn suite(&mut self, suite: &'static Suite, tests: &[String]) -> Result<()> {
        let before = self.cluster.set(suite.settings)?;
        self.cluster.scale_activator(suite.activators)?;
        let begun = Instant::now();
        let outcomes = self.run(suite, tests, "")?;
        let again: Vec<String> = tests
            .iter()
            .filter(|test| self.gate.holds(suite.name, test))
            .filter(|test| outcomes.get(*test).is_none_or(|outcome| outcome.state != State::Passed))
            .cloned()
            .collect();
        for test in again {
            if is_interrupted() {
                break;
            }
            let second = self.run(suite, std::slice::from_ref(&test), "-again")?;
            let has_passed = second.get(&test).is_some_and(|outcome| outcome.state == State::Passed);
            println!(
                "        {}/{test} did not pass at the first try, and {} at the second",
                suite.name,
                if has_passed { "passed" } else { "failed" }
            );
            if !has_passed {
                self.failed.push(format!("{}/{test}", suite.name));
            }
        }
        self.cluster.put(&before)?;
        self.cluster.scale_activator(1)?;
        let passed = outcomes.values().filter(|outcome| outcome.state == State::Passed).count();
        println!("{}: {passed} of {} passed ({:.0} s)", suite.name, tests.len(), begun.elapsed().as_secs_f64());
        self.outcomes.extend(outcomes.into_iter().map(|(test, outcome)| ((suite.name, test), outcome)));
        Ok(())
    }

    fn run(&self, suite: &Suite, tests: &[String], part: &str) -> Result<BTreeMap<String, Outcome>> {
        let log = self.options.logs.join(format!("{}{part}.log", suite.name.replace('/', "-")));
        runner::run(&Choice {
            suite,
            tests,
            cluster: self.cluster,
            binary: suite.binary(&self.options.suites),
            log: &log,
        })
    }
}

/// Says of every test that is not as it was what it is now.
fn report(outcomes: &BTreeMap<Name, Outcome>, results: &Results) {
    for ((suite, test), outcome) in outcomes {
        let before = results.entry(suite, test).map(|entry| entry.state);
        if outcome.state != State::Passed || before.is_some_and(|before| before != State::Passed) {
            let before = before.map_or("new", State::word);
            let why = outcome.why.as_deref().unwrap_or_default();
            println!("{} {suite}/{test} ({before} before; {:.0} s) {why}", outcome.state.word(), outcome.seconds);
        }
    }
    let count = |state| outcomes.values().filter(|outcome| outcome.state == state).count();
    println!(
        "{} tests: {} passed, {} failed, {} skipped themselves",
        outcomes.len(),
        count(State::Passed),
        count(State::Failed),
        count(State::Skipped)
    );
}
