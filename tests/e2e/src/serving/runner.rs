//! One binary of Knative's tests: what is in it, and what each test came to.
//!
//! It is asked to mark its own lines (`-test.v=test2json`: a control character stands before them), so that nothing that a test prints is
//! taken for a result.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::install::Cluster;
use super::suites::Suite;
use crate::place;
use crate::until;

/// What the binary writes before a line of its own.
const MARK: char = '\u{16}';
/// The most of a reason that is kept.
const WHY_CHARS: usize = 200;

/// What a test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Passed,
    Failed,
    /// It skipped itself.
    Skipped,
    /// Nobody runs it here.
    NotRun,
}

impl State {
    const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Skipped, Self::NotRun];

    /// As it is written.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NotRun => "not run",
        }
    }

    /// The state that is written so.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) seconds: f64,
    /// The last that it said, if it did not pass.
    pub(super) why: Option<String>,
}

/// What is to be run.
pub(super) struct Choice<'a> {
    pub(super) suite: &'a Suite,
    pub(super) tests: &'a [String],
    pub(super) cluster: &'a Cluster<'a>,
    pub(super) binary: PathBuf,
    /// Where its output goes.
    pub(super) log: &'a Path,
}

/// The tests of a binary.
pub(super) fn list(binary: &Path) -> Result<Vec<String>> {
    let said = place::output(Command::new(binary).args(["-test.list", "."]).stdin(Stdio::null()))?;
    Ok(said.lines().filter(|line| line.starts_with("Test")).map(str::to_owned).collect())
}

/// Runs the tests; every one of them has an outcome in the end.
pub(super) fn run(choice: &Choice<'_>) -> Result<BTreeMap<String, Outcome>> {
    let Choice { suite, tests, cluster, binary, log } = choice;
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(binary);
    cluster.equip(&mut command);
    command.args(suite.flags).arg("-test.v=test2json").arg(format!("-test.run=^({})$", tests.join("|")));
    command.arg(format!("-test.parallel={}", suite.parallel)).arg(format!("-test.timeout={}m", suite.minutes));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
    // What is left of the pipe's other end is the child's alone.
    drop(command);
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut outcomes = std::thread::scope(|scope| {
        let following = scope.spawn(|| follow(suite.name, reader, &mut log));
        let ended = until::end_of(&mut child);
        let outcomes = following.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.and(outcomes)
    })?;
    for test in *tests {
        outcomes.entry(test.clone()).or_insert_with(|| Outcome {
            state: State::Failed,
            seconds: 0.0,
            why: Some(format!("it did not end within the {} minutes of its suite", suite.minutes)),
        });
    }
    Ok(outcomes)
}

/// Reads the output to its end, keeps it, and says each test's result as it comes.
fn follow(suite: &str, output: impl Read, log: &mut impl Write) -> Result<BTreeMap<String, Outcome>> {
    let mut results = Reading::default();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        log.write_all(text.trim_start_matches(MARK).as_bytes())?;
        if let Some((test, outcome)) = results.read(text.trim_end()) {
            println!("        {:7} {suite}/{test} ({:.1} s)", outcome.state.word(), outcome.seconds);
        }
        line.clear();
    }
    Ok(results.outcomes)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// Whose lines come.
    test: String,
    /// The last that each said.
    said: BTreeMap<String, String>,
    /// How long the longest part of each took. Go does not count them into the whole if they ran side by side.
    longest_part: BTreeMap<String, f64>,
    outcomes: BTreeMap<String, Outcome>,
}

impl Reading {
    /// Takes a line; the test whose result it is, if it is one.
    fn read(&mut self, line: &str) -> Option<(String, Outcome)> {
        let Some(own) = line.strip_prefix(MARK) else {
            self.say(line);
            return None;
        };
        if let Some(name) = own.strip_prefix("=== ").and_then(|rest| rest.split_whitespace().nth(1)) {
            top(name).clone_into(&mut self.test);
        }
        let (verdict, rest) = own.strip_prefix("--- ")?.split_once(": ")?;
        let (test, time) = rest.split_once(" (")?;
        let mut seconds: f64 = time.trim_end_matches("s)").parse().ok()?;
        if test != top(test) {
            let longest = self.longest_part.entry(top(test).to_owned()).or_default();
            *longest = longest.max(seconds);
            return None;
        }
        seconds = seconds.max(self.longest_part.remove(test).unwrap_or_default());
        let state = match verdict {
            "PASS" => State::Passed,
            "SKIP" => State::Skipped,
            _ => State::Failed,
        };
        let why = (state != State::Passed).then(|| self.said.remove(test).unwrap_or_default());
        let outcome = Outcome { state, seconds, why };
        self.outcomes.insert(test.to_owned(), outcome.clone());
        Some((test.to_owned(), outcome))
    }

    /// Remembers what a test says: lines as `    file_test.go:12: words`.
    fn say(&mut self, line: &str) {
        let words = line.trim_start().split_once(".go:").and_then(|(_, rest)| rest.split_once(": "));
        if let Some((_, words)) = words.filter(|_| line.starts_with("    ")) {
            self.said.insert(self.test.clone(), words.chars().take(WHY_CHARS).collect());
        }
    }
}

/// The test that a test is part of.
fn top(name: &str) -> &str {
    name.split_once('/').map_or(name, |(top, _)| top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_from_what_tests_print() {
        let output = "\u{16}=== RUN   TestA\n    a_test.go:1: --- PASS: TestZ (0.00s)\n\u{16}=== RUN   TestB\n--- FAIL: TestA (1.00s)\n    \
                      b_test.go:7: Not today: x\n\u{16}=== NAME  TestA/part\n    a_test.go:2: broke\n\u{16}--- FAIL: TestA/part (2.50s)\n\
                      \u{16}--- FAIL: TestA (0.00s)\n\u{16}--- SKIP: TestB (0.00s)\n\u{16}--- PASS: TestC (3.00s)\n\u{16}FAIL\n";
        let mut log = Vec::new();
        let outcomes = follow("suite", output.as_bytes(), &mut log).unwrap();
        let told: Vec<_> = outcomes
            .iter()
            .map(|(test, outcome)| (test.as_str(), outcome.state, outcome.seconds, outcome.why.as_deref()))
            .collect();
        let expected = [
            ("TestA", State::Failed, 2.5, Some("broke")),
            ("TestB", State::Skipped, 0.0, Some("Not today: x")),
            ("TestC", State::Passed, 3.0, None),
        ];
        assert_eq!(told, expected);
        assert!(!String::from_utf8(log).unwrap().contains(MARK));
    }
}
