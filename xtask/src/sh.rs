//! Running other programs: with their output shown or captured, each in a process group that dies with this program.
//!
//! A program that hangs, or an impatient Ctrl-C, must not leave builds or a running Kwick behind. So [`check`] starts its child in a
//! process group of its own, ends the group when its time is over, and [`end_children_on_signals`] does the same for SIGINT and SIGTERM.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a group gets between the polite and the last signal: time to take down a running Kwick.
const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Nothing here may take longer; a cold release build is the longest.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// The process group that runs now, 0 for none.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A command that starts in the workspace's root.
pub(crate) fn command(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs to the end with the output shown; fails when the program does.
pub(crate) fn run(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    check(&mut command(program, args))
}

/// Runs a prepared command to the end; fails when the program does or takes longer than an hour.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    check_within(LIMIT, command)
}

/// Runs a prepared command to the end; fails when the program does or when its time is over.
pub(crate) fn check_within(limit: Duration, command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}: is it installed?"))?;
    let group = i32::try_from(child.id()).context("a process id that is none")?;
    GROUP.store(group, Ordering::SeqCst);
    let status = wait(&mut child, limit);
    GROUP.store(0, Ordering::SeqCst);
    let Some(status) = status? else {
        bail!("{program} {} was ended after {} minutes", arguments(command), limit.as_secs() / 60);
    };
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments(command));
    }
    Ok(())
}

/// Waits for the end; nothing when the time was over and the group had to be ended.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    end_group(i32::try_from(child.id())?);
    child.wait()?;
    Ok(None)
}

/// Asks a process group to end, and makes it end.
fn end_group(group: i32) {
    let group = Pid::from_raw(group);
    let last = Instant::now() + GRACE;
    // An error means that nobody of the group is left.
    while Instant::now() < last && killpg(group, Signal::SIGTERM).is_ok() {
        for _ in 0..50 {
            std::thread::sleep(POLL);
            if killpg(group, None).is_err() {
                return;
            }
        }
    }
    let _ = killpg(group, Signal::SIGKILL);
}

/// From now on SIGINT and SIGTERM end the running group first, then this program.
pub(crate) fn end_children_on_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([2, 15]).context("cannot watch for signals")?;
    std::thread::spawn(move || {
        let signal = signals.forever().next().unwrap_or(2);
        let group = GROUP.load(Ordering::SeqCst);
        if group != 0 {
            end_group(group);
        }
        std::process::exit(128 + signal);
    });
    Ok(())
}

/// Runs to the end and gives the standard output.
pub(crate) fn output(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
    let mut command = command(program, args);
    command.stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {program}: is it installed?"))?;
    if !output.status.success() {
        bail!("{program} {} ended with {}", arguments(&command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `program` can be started at all.
pub(crate) fn exists(program: &str) -> bool {
    let mut probe = command("sh", ["-c", "command -v \"$0\"", program]);
    probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn arguments(command: &Command) -> String {
    command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
