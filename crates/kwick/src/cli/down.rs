//! `kwick down`: ends an instance. Afterwards no process, mount, link, namespace or cgroup of it is left; its data stays unless told.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base_rt::{Clock, Shutdown, Tasks};
use clap::Args;
use cluster_sandbox::{Sandbox, SpawnerConfig, cleanup, launch};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Instance, block_on, remark};
use crate::exit::Refused;
use crate::instance::data_dir::DataDir;
use crate::instance::lock::{Holder, Lock};
use crate::instance::record::Record;
use crate::instance::root;

/// How long a running Kwick has to drain and to end its pods.
const MAIN_GRACE: Duration = Duration::from_secs(60);
/// How long pods that do not ask for less have when only the spawner is left.
const PODS_GRACE: Duration = Duration::from_secs(30);
/// How long the lock may still be held by what lets it go by itself.
const LOCK_GRACE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo kwick down\n  sudo kwick down --delete-data     and forget everything that was deployed"
)]
pub(super) struct Down {
    #[command(flatten)]
    instance: Instance,
    /// Also delete the data directory: every object, image and log.
    #[arg(long)]
    delete_data: bool,
}

impl Down {
    pub(super) fn run(&self) -> Result<()> {
        root::require("kwick down")?;
        let dir = self.instance.dir()?;
        if !dir.is_initialised() {
            remark(format!("nothing to do: {} is not a data directory of Kwick", dir.path().display()));
            return Ok(());
        }
        dir.check()?;
        // Held to the end, so that nothing is started on what is being taken down.
        let _lock = end_main(&dir)?;
        if let Some(record) = Record::load(&dir)? {
            end_spawner(&record.spawner_config(&dir)?)?;
        }
        if self.delete_data {
            dir.delete()?;
            remark(format!("stopped; {} is deleted", dir.path().display()));
        } else {
            remark(format!("stopped; the data stays in {}", dir.path().display()));
        }
        Ok(())
    }
}

/// Asks the running Kwick to end everything, and waits until it has; the lock that it held.
fn end_main(dir: &DataDir) -> Result<Lock> {
    let pid = match take_lock(dir)? {
        Ok(lock) => return Ok(lock),
        Err(Holder::Kwick(pid)) => pid,
        Err(Holder::Command) => {
            return Err(Refused::error(
                "another `kwick up` or `kwick down` is at work on this data directory",
                "try again in a moment",
            ));
        }
    };
    remark(format!("stopping kwick (pid {pid}) and its pods"));
    signal(pid, Signal::SIGINT)?;
    if let Some(lock) = lock_within(dir, MAIN_GRACE)? {
        return Ok(lock);
    }
    remark(format!("kwick (pid {pid}) does not end; killing it"));
    signal(pid, Signal::SIGKILL)?;
    let lock = lock_within(dir, MAIN_GRACE)?;
    lock.with_context(|| format!("process {pid} does not end and holds {}", dir.join("lock").display()))
}

/// Ends what a Kwick that is gone left running, and removes what a spawner that is gone left lying.
pub(super) fn end_spawner(config: &SpawnerConfig) -> Result<()> {
    if launch::is_running(config) {
        block_on(async {
            let (handle, shutdown) = Shutdown::new();
            let tasks = Tasks::new(shutdown);
            let (sandbox, _events) = Sandbox::connect(&config.socket_path(), &tasks, Clock::system()).await?;
            sandbox.down(PODS_GRACE).await?;
            handle.advance(base_rt::Phase::Stopped);
            Ok::<(), cluster_sandbox::SandboxError>(())
        })?
        .context("the spawner does not end its pods")?;
        let has_ended = block_on(within(MAIN_GRACE, || Ok((!launch::is_running(config)).then_some(()))))??;
        if has_ended.is_none() {
            bail!("the spawner has not ended; see {}", config.log_file.display());
        }
    }
    cleanup::leftovers(config).context("cannot remove what is left")
}

/// Takes the lock, or tells who has it. Waits a little for whoever lets go soon: a command, and a Kwick that was killed, whose last thread
/// ends after it.
pub(super) fn take_lock(dir: &DataDir) -> Result<std::result::Result<Lock, Holder>> {
    let look = || match Lock::take(dir)? {
        Err(Holder::Command) => Ok(None),
        known => Ok(Some(known)),
    };
    Ok(block_on(within(LOCK_GRACE, look))??.unwrap_or(Err(Holder::Command)))
}

fn lock_within(dir: &DataDir, time: Duration) -> Result<Option<Lock>> {
    block_on(within(time, || Ok(Lock::take(dir)?.ok())))?
}

/// Looks again and again until there is something; nothing when the time is over.
async fn within<T>(time: Duration, look: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = tokio::time::Instant::now() + time;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {pid}")),
    }
}
