//! `kwick doctor`: what this machine has and lacks for containers. Changes nothing.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use cluster_sandbox::preflight::{self, Fact, Verdict};
use serde_json::json;

use super::{Instance, Output, say, table};
use crate::exit::Refused;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo kwick doctor\n  sudo kwick doctor -o json\n\nThe exit code is 2 if Kwick cannot run here."
)]
pub(super) struct Doctor {
    #[command(flatten)]
    instance: Instance,
    /// The form of the answer.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Doctor {
    pub(super) fn run(&self) -> Result<()> {
        let dir = self.instance.dir()?;
        let facts = look(dir.path());
        say(match self.output {
            Some(Output::Json) => as_json(&facts)?,
            None => as_table(&facts),
        })?;
        refuse_if_missing(&facts)
    }
}

/// Looks at the machine for a data directory that may not exist yet.
pub(super) fn look(data_dir: &Path) -> Vec<Fact> {
    let existing = data_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    preflight::check(existing)
}

/// An error that names everything without which no container runs.
pub(super) fn refuse_if_missing(facts: &[Fact]) -> Result<()> {
    let missing: Vec<_> = facts.iter().filter(|fact| fact.verdict == Verdict::Missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let sentences = |text: fn(&Fact) -> &str| {
        missing.iter().map(|fact| text(fact)).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    };
    let what: Vec<_> = missing.iter().map(|fact| format!("{}: {}", fact.name, fact.reason)).collect();
    Err(Refused::error(format!("this machine cannot run containers: {}", what.join("; ")), sentences(|fact| &fact.fix)))
}

fn as_json(facts: &[Fact]) -> Result<String> {
    let rows: Vec<_> = facts
        .iter()
        .map(|fact| json!({"name": fact.name, "verdict": word(fact.verdict), "reason": fact.reason, "fix": fact.fix}))
        .collect();
    serde_json::to_string_pretty(&rows).context("cannot form JSON")
}

fn as_table(facts: &[Fact]) -> String {
    let rows: Vec<_> = facts
        .iter()
        .map(|fact| [fact.name.to_owned(), word(fact.verdict).to_owned(), fact.reason.clone(), fact.fix.clone()])
        .collect();
    table::render(["CHECK", "VERDICT", "WHAT WAS FOUND", "FIX"], &rows)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Degraded => "degraded",
        Verdict::Missing => "missing",
    }
}
