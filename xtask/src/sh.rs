//! Running other programs: with their output shown or captured, and none of them left running when this one is interrupted.
//!
//! [`check`] starts its child in a process group of its own, so that Ctrl-C reaches this program alone, which then asks the child to
//! end and waits until it has. A child whose standard input is a pipe is asked by closing it: that needs no right to signal it (it may
//! be root's), reaches it alone and not what it is just cleaning up with, and happens by itself when this program is killed. Any other
//! child's group gets a SIGTERM.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a child gets to end by itself: longer than the driver of a running Kwick allows itself for taking it down.
const GRACE: Duration = Duration::from_secs(150);
/// How long the kernel may take to end what was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Nothing here may take longer; a cold release build is the longest.
pub(crate) const LIMIT: Duration = Duration::from_secs(60 * 60);

/// A program ended, and not well.
#[derive(Debug)]
pub(crate) struct Failed {
    command: String,
    status: ExitStatus,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended with {}", self.command, self.status)
    }
}

impl std::error::Error for Failed {}

/// The exit code of the program whose failure this is; none of any other error, nor of a program that a signal ended.
pub(crate) fn code(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<Failed>()?.status.code()
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

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

/// Runs a prepared command to the end; fails when the program does, when its time is over, or when this program is interrupted.
pub(crate) fn check_within(limit: Duration, command: &mut Command) -> Result<()> {
    run_until(limit, is_interrupted, command)
}

/// Runs a prepared command that cleans up: an interruption does not end it.
pub(crate) fn clean_up(limit: Duration, command: &mut Command) -> Result<()> {
    run_until(limit, || false, command)
}

fn run_until(limit: Duration, is_unwanted: impl Fn() -> bool, command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}: is it installed?"))?;
    let end = Instant::now() + limit;
    if let Some(status) = wait(&mut child, || Instant::now() >= end || is_unwanted())? {
        if !status.success() {
            return Err(Failed { command: format!("{program} {}", arguments(command)), status }.into());
        }
        return Ok(());
    }
    let is_gone = end_child(&mut child)?;
    let why = if is_unwanted() { "interrupted".to_owned() } else { format!("not done in {} s", limit.as_secs()) };
    let what = if is_gone { "was ended" } else { "does not end" };
    bail!("{why}: {program} {} {what}", arguments(command));
}

/// Waits for the end; nothing when `is_over` came first.
fn wait(child: &mut Child, is_over: impl Fn() -> bool) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if is_over() {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Asks a child to end, and makes it end; whether it has.
fn end_child(child: &mut Child) -> Result<bool> {
    let group = Pid::from_raw(i32::try_from(child.id()).context("a process id that is none")?);
    if child.stdin.take().is_none() {
        // Its end is what counts, and is waited for.
        let _ = killpg(group, Signal::SIGTERM);
    }
    let within = |time| {
        let end = Instant::now() + time;
        move || Instant::now() >= end
    };
    if wait(child, within(GRACE))?.is_some() {
        return Ok(true);
    }
    let _ = killpg(group, Signal::SIGKILL);
    Ok(wait(child, within(KILLED_WITHIN))?.is_some())
}

/// From now on SIGINT and SIGTERM end what runs, with the time that its cleaning up takes; what would come next is not begun.
pub(crate) fn watch_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([2, 15]).context("cannot watch for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
        }
    });
    Ok(())
}

/// Whether somebody wants this program to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Command {
        let mut shell = command("sh", ["-c", script]);
        shell.current_dir(folder);
        shell
    }

    /// A folder of the test's own.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kwick-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_child_that_listens_is_asked_by_the_end_of_its_input_and_may_clean_up() {
        let folder = folder("listens");
        // As with a child that is root's: it cannot be signalled.
        let script = "trap '' TERM; read -r line; echo cleaned >done";
        let error = run_until(Duration::ZERO, || false, shell(script, &folder).stdin(Stdio::piped())).unwrap_err();
        assert!(error.to_string().contains("was ended"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.join("done")).unwrap(), "cleaned\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_code_of_a_program_that_failed_is_told_from_other_errors() {
        let failed = |script| check(&mut shell(script, Path::new("/"))).unwrap_err();
        assert_eq!(code(&failed("exit 3")), Some(3));
        assert_eq!(code(&failed("kill -9 $$")), None);
        assert_eq!(code(&check(&mut command("/nowhere", [""; 0])).unwrap_err()), None);
    }

    #[test]
    fn an_interruption_ends_the_whole_group_and_not_what_cleans_up() {
        let folder = folder("group");
        let has_begun = || folder.join("begun").exists();
        let error = run_until(LIMIT, has_begun, &mut shell("sleep 3600 & touch begun; wait", &folder)).unwrap_err();
        assert!(error.to_string().starts_with("interrupted"), "{error}");
        clean_up(LIMIT, &mut shell("rm begun", &folder)).unwrap();
        assert!(!has_begun());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
