//! What this machine has and lacks for containers, before anything is started: a list for a person.
//!
//! Each check answers one question by asking the kernel, not by guessing from versions, and changes nothing. Without root some cannot be
//! asked; then the fact about root says which.

mod checks;
mod network;

use std::path::Path;

/// One thing that containers need or are better with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found and, unless all is well, what follows from it.
    pub reason: String,
    /// What to do; empty if all is well or nothing can be done.
    pub fix: String,
}

/// How serious a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Containers run, without something.
    Degraded,
    /// Containers do not run.
    Missing,
}

impl Fact {
    fn good(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, reason: reason.into(), fix: String::new() }
    }

    fn degraded(name: &'static str, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Degraded, reason: reason.into(), fix: fix.into() }
    }

    fn missing(name: &'static str, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Missing, reason: reason.into(), fix: fix.into() }
    }
}

/// Looks at everything. `data_dir` is where containers' files will lie: an existing directory.
pub fn check(data_dir: &Path) -> Vec<Fact> {
    let is_root = rustix::process::geteuid().is_root();
    let mut facts = vec![checks::root(is_root), checks::kernel()];
    if is_root {
        facts.extend([checks::capabilities(), checks::raising_limits(), checks::overlay(data_dir)]);
    }
    facts.extend([checks::open_files(), checks::namespaces(), checks::seccomp(), checks::devices()]);
    facts.extend(checks::cgroups());
    if is_root {
        facts.extend(network::check());
    }
    facts.push(network::uplink());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_these_tests_as_root_lacks_nothing_vital() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let facts = check(directory.path());
        if !rustix::process::geteuid().is_root() {
            assert_eq!((facts[0].name, facts[0].verdict), ("root", Verdict::Degraded));
            assert!(facts.iter().any(|fact| fact.name == "kernel"));
            return;
        }
        let missing: Vec<_> = facts.iter().filter(|fact| fact.verdict == Verdict::Missing).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(facts.iter().all(|fact| !fact.reason.is_empty()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
        let low = checks::open_files_within(Some(4096));
        assert_eq!(low.verdict, Verdict::Degraded);
        assert!(low.reason.contains("132 pods"), "{}", low.reason);
        let none = checks::open_files_within(Some(256));
        assert!(none.reason.contains(" 0 pods"), "{}", none.reason);
        assert_eq!(checks::open_files_within(None).verdict, Verdict::Good);
        let not_a_directory = checks::overlay(Path::new("/proc/version"));
        assert_eq!(not_a_directory.verdict, Verdict::Missing);
    }
}
