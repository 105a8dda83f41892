//! An unmodified kubectl as checks use it, with an instance's kubeconfig.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::instance::Instance;
use crate::place;

/// The command, ready to be run; fails where there is no kubectl.
pub(crate) fn command(kwick: &Instance<'_>, args: &[&str]) -> Result<Command> {
    kwick.kubectl(args).context("there is no kubectl")
}

/// Runs it and gives what it said; fails when it does.
pub(crate) fn run(kwick: &Instance<'_>, args: &[&str]) -> Result<String> {
    place::output(&mut command(kwick, args)?)
}

/// Runs it; what it says has to contain these.
pub(crate) fn shows(kwick: &Instance<'_>, args: &[&str], expected: &[&str]) -> Result<()> {
    place::shows(&mut command(kwick, args)?, expected)
}

/// Applies an object.
pub(crate) fn apply(kwick: &Instance<'_>, object: &Value) -> Result<()> {
    let file = kwick.folder().with_extension("applied.json");
    std::fs::write(&file, object.to_string())?;
    run(kwick, &["apply", "-f", &file.display().to_string()]).map(drop)
}
