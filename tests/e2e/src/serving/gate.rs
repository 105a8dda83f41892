//! `tests/conformance/gate.txt`: how often in a row each test has passed. From ten times on it has to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::runner::{Outcome, State};
use super::suites::SUITES;
use super::{Name, load, save};

const FILE: &str = "gate.txt";
const HEAD: &str = "\
# How often in a row each of Knative Serving's own tests has passed, as `e2e serving --write` counted it.
# A test that has passed ten times in a row has to pass: its failure fails `cargo xtask test`.
";
/// How often a test passes before it has to.
const GREEN_RUNS: u32 = 10;

/// The counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gate(BTreeMap<Name, u32>);

impl Gate {
    /// Reads the file in `folder`; nothing where there is none.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        load(&folder.join(FILE), Self::parse)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let counts = lines.map(|line| {
            let wrong = || format!("a line is COUNT SUITE/TEST, not {line:?}");
            let (count, name) = line.trim().split_once(' ').with_context(wrong)?;
            let (suite, test) = name.trim().rsplit_once('/').with_context(wrong)?;
            let suite = SUITES
                .iter()
                .find(|known| known.name == suite)
                .with_context(|| format!("no suite is called {suite}"))?;
            Ok(((suite.name, test.to_owned()), count.parse().with_context(wrong)?))
        });
        Ok(Self(counts.collect::<Result<_>>()?))
    }

    /// Whether the test has to pass.
    pub(super) fn holds(&self, suite: &'static str, test: &str) -> bool {
        self.0.get(&(suite, test.to_owned())).is_some_and(|count| *count >= GREEN_RUNS)
    }

    /// Counts a run. A test that skipped itself has shown nothing.
    pub(super) fn count(&mut self, outcomes: &BTreeMap<Name, Outcome>) {
        for (name, outcome) in outcomes {
            let count = self.0.entry(name.clone()).or_default();
            match outcome.state {
                State::Passed => *count += 1,
                State::Failed => *count = 0,
                State::Skipped | State::NotRun => {}
            }
        }
        self.0.retain(|_, count| *count > 0);
    }

    /// Writes the file in `folder`.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        save(&folder.join(FILE), &self.text())
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for ((suite, test), count) in &self.0 {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{count:>3} {suite}/{test}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_in_a_row_close_the_gate_and_one_failure_opens_it() {
        let run = |state| BTreeMap::from([(("e2e", "TestA".to_owned()), Outcome { state, seconds: 1.0, why: None })]);
        let mut gate = Gate::default();
        for _ in 0..9 {
            gate.count(&run(State::Passed));
        }
        gate.count(&run(State::Skipped));
        assert!(!gate.holds("e2e", "TestA"));
        gate.count(&run(State::Passed));
        let read = Gate::parse(&gate.text()).unwrap();
        assert_eq!(read, gate);
        assert!(read.holds("e2e", "TestA"));
        gate.count(&run(State::Failed));
        assert!(!gate.holds("e2e", "TestA"));
        assert!(!gate.text().contains("TestA"), "{}", gate.text());
    }

    #[test]
    fn a_line_that_is_wrong_is_said() {
        let wrong = ["e2e/TestA", "x e2e/TestA", "3 nowhere/TestA"];
        assert!(wrong.iter().all(|line| Gate::parse(line).is_err()));
    }
}
