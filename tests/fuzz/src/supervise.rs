//! One process for each target, so that nothing that an input does to it goes unnoticed.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Enough;
use crate::targets::TARGETS;

/// A target that does not come to another input for so long hangs, on a busy machine, too.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Runs the targets, all of them also when one finds something.
pub(crate) fn all(only: Option<&str>, enough: Enough, seed: u64, findings: &Path) -> Result<()> {
    let chosen: Vec<_> = TARGETS.iter().map(|(name, _)| *name).filter(|name| only.is_none_or(|o| o == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are: {}", TARGETS.map(|(name, _)| name).join(" "));
    }
    let mut found = Vec::new();
    for target in chosen {
        if let Err(error) = one(target, enough, seed, findings) {
            println!("{target}: {error:#}");
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!("seed {seed} found something in: {}", found.join(" "));
    }
    Ok(())
}

fn one(target: &str, enough: Enough, seed: u64, findings: &Path) -> Result<()> {
    // In memory, where that is a file system: each input is noted, and layers are unpacked.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let scratch = tempfile::tempdir_in(place).context("make a folder")?;
    let current = scratch.path().join("current");
    let program = std::env::current_exe().context("find this program")?;
    let bound = match enough {
        Enough::After(time) => format!("--seconds={}", time.as_secs()),
        Enough::Inputs(count) => format!("--inputs={count}"),
    };
    let mut child = Command::new(program)
        .args(["work", &bound, target, &seed.to_string()])
        .arg(&current)
        .env("TMPDIR", scratch.path())
        .spawn()
        .context("start the target")?;
    let outcome = match end_of(&mut child, &current) {
        Ok(Some(status)) => describe(status),
        hung_or_unknown => {
            child.kill().context("kill the target")?;
            child.wait().context("wait for the target")?;
            hung_or_unknown?;
            Some("it hangs".to_owned())
        }
    };
    let Some(what) = outcome else { return Ok(()) };
    std::fs::create_dir_all(findings).context("keep the input")?;
    let kept = findings.join(format!("{target}-{seed}"));
    std::fs::copy(&current, &kept).context("keep the input")?;
    bail!("{what}; replay it with `fuzz replay {target} {}`", kept.display())
}

/// How a target has ended; none when it does not come to another input, which it would write into `current`.
fn end_of(child: &mut Child, current: &Path) -> Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id that is none")?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).context("watch the target")?;
    let mut last = None;
    loop {
        let mut watched = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut watched, Some(&PATIENCE)) {
            Ok(0) => {}
            Ok(_) => return Ok(Some(child.wait().context("wait for the target")?)),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).context("watch the target"),
        }
        let written = std::fs::metadata(current).and_then(|file| file.modified()).ok();
        if written == last {
            return Ok(None);
        }
        last = written;
    }
}

/// What is wrong with how it ended, if anything is.
fn describe(status: ExitStatus) -> Option<String> {
    (!status.success())
        .then(|| format!("it ended with {status} (a panic, a slow input, the stack, or more memory than it may have)"))
}
