//! One process for each target, so that nothing that an input does to it goes unnoticed.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Bounds;
use crate::targets::TARGETS;

/// How long a target may take longer than it should: the bound of a hang, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Runs the targets, all of them also when one finds something.
pub(crate) fn all(only: Option<&str>, bounds: Bounds, seed: u64, findings: &Path) -> Result<()> {
    let chosen: Vec<_> = TARGETS.iter().map(|(name, _)| *name).filter(|name| only.is_none_or(|o| o == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are: {}", TARGETS.map(|(name, _)| name).join(" "));
    }
    let mut found = Vec::new();
    for target in chosen {
        if let Err(error) = one(target, bounds, seed, findings) {
            println!("{target}: {error:#}");
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!("seed {seed} found something in: {}", found.join(" "));
    }
    Ok(())
}

fn one(target: &str, bounds: Bounds, seed: u64, findings: &Path) -> Result<()> {
    // In memory, where that is a file system: each input is noted, and layers are unpacked.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let scratch = tempfile::tempdir_in(place).context("make a folder")?;
    let current = scratch.path().join("current");
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .args(["work", "--seconds", &bounds.seconds.to_string(), "--inputs", &bounds.inputs.to_string()])
        .args([target, &seed.to_string()])
        .arg(&current)
        .env("TMPDIR", scratch.path())
        .spawn()
        .context("start the target")?;
    let deadline = Instant::now() + Duration::from_secs(bounds.seconds) + PATIENCE;
    let outcome = loop {
        if let Some(status) = child.try_wait().context("wait for the target")? {
            break describe(status);
        }
        if Instant::now() > deadline {
            child.kill().context("kill the target")?;
            child.wait().context("wait for the target")?;
            break Some("it hangs".to_owned());
        }
        std::thread::sleep(POLL);
    };
    let Some(what) = outcome else { return Ok(()) };
    std::fs::create_dir_all(findings).context("keep the input")?;
    let kept = findings.join(format!("{target}-{seed}"));
    std::fs::copy(&current, &kept).context("keep the input")?;
    bail!("{what}; replay it with `fuzz replay {target} {}`", kept.display())
}

/// What is wrong with how it ended, if anything is.
fn describe(status: ExitStatus) -> Option<String> {
    (!status.success())
        .then(|| format!("it ended with {status} (a panic, a slow input, the stack, or more memory than it may have)"))
}
