//! Waiting for a level, and how this program is interrupted: by SIGINT, SIGTERM or the end of its standard input.

use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an interrupted run may take to take down what it started.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(120);
/// The exit code of an interrupted run that did not come to its end.
const INTERRUPTED_CODE: i32 = 130;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM are remembered, so that waits end and everything started is taken down.
pub(crate) fn watch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [2, 15] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("cannot watch for signals")?;
    }
    Ok(())
}

/// From now on the end of standard input is an interruption, too: whoever started this program closed it, or is gone.
pub(crate) fn watch_input() {
    let flag = Arc::clone(INTERRUPTED.get_or_init(Arc::default));
    std::thread::spawn(move || {
        // An input that cannot be read has ended as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        flag.store(true, Ordering::SeqCst);
        std::thread::sleep(CLEAN_UP_WITHIN);
        std::process::exit(INTERRUPTED_CODE);
    });
}

/// Waits for a program's end. An interruption is handed on to it once.
pub(crate) fn end_of(child: &mut Child) -> Result<ExitStatus> {
    let mut is_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if is_interrupted() && !is_told {
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
            is_told = true;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether somebody wants this program to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Lets time pass, unless interrupted.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if is_interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Looks until there is something, or says after `limit` what was waited for and what was last in the way.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let last = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if is_interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if Instant::now() >= end {
            let waited = format!("{what}: not within {} s", limit.as_secs());
            return Err(match last {
                Some(error) => error.context(waited),
                None => anyhow::anyhow!(waited),
            });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// As [`until`], for what either is or is not.
pub(crate) fn until_true(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(is_so()?.then_some(())))
}
