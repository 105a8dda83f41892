//! This program interrupted while an instance of it runs: everything is gone afterwards.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::instance::ensure;
use crate::ksvc;
use crate::leftovers::Picture;
use crate::place::Place;
use crate::until::until;

/// Longer than an interrupted run allows itself.
const END_WITHIN: Duration = Duration::from_secs(150);

/// Ctrl-C once the demo's service runs, as a terminal sends it: to the whole process group.
pub(super) fn ctrl_c(place: &Place) -> Result<String> {
    interrupted(place, "the service is Ready", |demo| {
        let group = Pid::from_raw(i32::try_from(demo.id())?);
        killpg(group, Signal::SIGINT).context("cannot interrupt the demo")
    })
}

/// The end of whoever started the demo, while Kwick itself starts.
pub(super) fn orphaned(place: &Place) -> Result<String> {
    interrupted(place, "", |demo| {
        let data = place.scratch("orphan").join("demo/VERSION");
        until("the demo's data directory", ksvc::PATIENCE, || Ok(data.exists().then_some(())))?;
        drop(demo.stdin.take());
        Ok(())
    })
}

/// Starts the demo, waits for a line that begins so, interrupts, and looks for what is left.
fn interrupted(place: &Place, line: &str, interrupt: impl FnOnce(&mut Child) -> Result<()>) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let scratch = place.scratch("orphan");
    let mut demo = Command::new(std::env::current_exe().context("cannot tell which program this is")?);
    demo.args(["--until-eof", "demo"]).args(place.options(&scratch));
    let mut demo = demo.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(demo.stdout.take().context("the demo has no output")?).lines();
    let has_come = line.is_empty() || lines.by_ref().any(|said| said.is_ok_and(|said| said.starts_with(line)));
    interrupt(&mut demo)?;
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = until("the end of the demo", END_WITHIN, || Ok(demo.try_wait()?))?;
    ensure(has_come, || format!("the demo ended before {line:?} with {status}"))?;
    ensure(status.success(), || format!("the demo ended with {status}: {}", rest.join("; ")))?;
    until("a clean machine", Duration::from_secs(30), || before.expect_nothing_new().map(Some))?;
    ensure(!scratch.exists(), || format!("{} is still there", scratch.display()))?;
    rest.last().cloned().context("the demo did not say how it ended")
}
