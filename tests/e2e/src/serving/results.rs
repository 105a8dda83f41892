//! `tests/conformance/results.md`: every test, what it came to last, and for each that does not pass the reason.
//!
//! It is a table for people that this program reads, too. Reasons are people's: until somebody writes one, the test's own last words stand there,
//! in quotes. What somebody wrote stays as long as the state does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::runner::{Outcome, State};
use super::suites::SUITES;
use super::{Name, load, save};

const FILE: &str = "results.md";
const HEAD: &str = "\
# Knative Serving's own tests

What the tests of `knative.dev/serving` v0.42.2 (Knative 1.15), unmodified, came to on an embedded Kwick. `cargo xtask test --only serving`
runs those of every day, with `--full` all; with `--write` at the driver (`e2e serving`) what came out is written here, and how often in a row each
test passed into `gate.txt`. Where Knative 1.15 and 1.23 differ, 1.23 is what Kwick does.

";
const TABLE: &str = "| suite | test | state | seconds | reason |\n|---|---|---|---|---|\n";

/// The result of a test.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) seconds: f64,
    reason: String,
}

/// Every result.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Results(BTreeMap<Name, Entry>);

impl Results {
    /// Reads the file in `folder`; nothing where there is none.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        load(&folder.join(FILE), Self::parse)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut results = BTreeMap::new();
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", suite, test, state, seconds, reason, ""] = cells[..] else { continue };
            let Some(suite) = SUITES.iter().find(|known| known.name == suite) else { continue };
            let Some(state) = State::of(state) else { bail!("{test} is {state:?}, which is no state") };
            let seconds = if seconds.is_empty() { 0.0 } else { seconds.parse().context("seconds are a number")? };
            results.insert((suite.name, test.to_owned()), Entry { state, seconds, reason: reason.to_owned() });
        }
        Ok(Self(results))
    }

    /// The result of a test, if there is one.
    pub(super) fn entry(&self, suite: &'static str, test: &str) -> Option<&Entry> {
        self.0.get(&(suite, test.to_owned()))
    }

    /// Takes over what came out.
    pub(super) fn take(&mut self, outcomes: &BTreeMap<Name, Outcome>) {
        for (name, Outcome { state, seconds, why }) in outcomes {
            let old = self.0.get(name).filter(|entry| entry.state == *state && !entry.reason.starts_with('"'));
            let said = || why.as_ref().map(|why| format!("\"{}\"", why.replace(['|', '\n'], " "))).unwrap_or_default();
            let reason = old.map_or_else(said, |entry| entry.reason.clone());
            self.0.insert(name.clone(), Entry { state: *state, seconds: *seconds, reason });
        }
    }

    /// Writes the file in `folder`.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        save(&folder.join(FILE), &self.text())
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        text.push_str("| suite | tests | passed | failed | skipped | not run |\n|---|---|---|---|---|---|\n");
        let mut count = |what: &str, of: &dyn Fn(&str) -> bool| {
            let states: Vec<State> =
                self.0.iter().filter(|((suite, _), _)| of(suite)).map(|(_, entry)| entry.state).collect();
            let of = |wanted| states.iter().filter(|state| **state == wanted).count();
            let [passed, failed, skipped, not_run] =
                [State::Passed, State::Failed, State::Skipped, State::NotRun].map(of);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "| {what} | {} | {passed} | {failed} | {skipped} | {not_run} |", states.len());
        };
        for suite in SUITES {
            count(suite.name, &|name| name == suite.name);
        }
        count("all", &|_| true);
        text.push('\n');
        text.push_str(TABLE);
        for suite in SUITES {
            for ((_, test), Entry { state, seconds, reason }) in self.0.iter().filter(|((of, _), _)| *of == suite.name)
            {
                let seconds = if *state == State::NotRun { String::new() } else { format!("{seconds:.0}") };
                let _ = writeln!(text, "| {} | {test} | {} | {seconds} | {reason} |", suite.name, state.word());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(state: State, why: &str) -> Outcome {
        Outcome { state, seconds: 2.0, why: Some(why.to_owned()) }
    }

    #[test]
    fn a_reason_stays_as_long_as_the_state() {
        let mut results = Results::default();
        let name = |test: &str| ("e2e", test.to_owned());
        results.take(
            &[(name("TestA"), outcome(State::Failed, "x | y")), (name("TestB"), outcome(State::Failed, "z"))].into(),
        );
        results.0.get_mut(&name("TestA")).unwrap().reason = "it needs the internet".to_owned();
        let mut read = Results::parse(&results.text()).unwrap();
        assert_eq!(read, results);
        read.take(
            &[(name("TestA"), outcome(State::Failed, "other words")), (name("TestB"), outcome(State::Skipped, "off"))]
                .into(),
        );
        assert_eq!(read.entry("e2e", "TestA").unwrap().reason, "it needs the internet");
        assert_eq!(read.entry("e2e", "TestB").unwrap().reason, "\"off\"");
        read.take(&[(name("TestB"), outcome(State::Skipped, "still off"))].into());
        assert_eq!(read.entry("e2e", "TestB").unwrap().reason, "\"still off\"");
        assert!(read.text().contains("| e2e | 2 | 0 | 1 | 1 | 0 |"), "{}", read.text());
    }

    #[test]
    fn a_state_that_is_none_is_said() {
        let error = Results::parse("| e2e | TestA | perhaps | 1 | |").unwrap_err();
        assert!(error.to_string().contains("perhaps"), "{error}");
    }
}
