//! Starting a spawner, from the program that will be its client.
//!
//! Usually the spawner leaves its maker: it becomes a process of its own, with no parent but the machine's first, that survives a Ctrl-C,
//! a closed terminal, a killed process group and the end of the session's cgroup ([`start`]). As the first process of a container the
//! order is the other way round, because that process's death ends everything: it becomes the spawner and starts the client as its child
//! ([`become_spawner`]).

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cleanup;
use crate::spawner::{
    SECOND_STAGE_AS_FIRST_PROCESS, SPAWNER_ARGUMENT, SpawnerConfig, Started, lock_instance, second_stage,
};
use crate::spec::SpawnerFacts;

/// Why there is no spawner.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// One of this instance runs: connect to it instead.
    #[error("a spawner of instance {0} is running")]
    AlreadyRunning(String),
    /// The spawner could not be executed or talked to.
    #[error("starting the spawner")]
    Start(#[source] io::Error),
    /// What a dead spawner left could not be removed.
    #[error("removing what an earlier spawner left")]
    Leftovers(#[source] cleanup::CleanupError),
    /// It says itself why it does not start.
    #[error("the spawner does not start: {0}")]
    Refused(String),
    /// It ended without a word; its log file may know more.
    #[error("the spawner ended at its start without a word, see {0}")]
    Silent(String),
}

/// How much a spawner may say at its start.
const STARTED_MAX_BYTES: u64 = 1 << 20;

/// Starts the spawner of an instance and waits until it serves. What an earlier one left behind is ended and removed first.
///
/// `executable` is a program that calls [`spawner::run`](crate::spawner::run); usually `/proc/self/exe`. The caller is root.
///
/// # Errors
/// See [`LaunchError`]; nothing runs then.
pub fn start(executable: &Path, config: &SpawnerConfig) -> Result<SpawnerFacts, LaunchError> {
    if is_running(config) {
        return Err(LaunchError::AlreadyRunning(config.instance.to_string()));
    }
    cleanup::leftovers(config).map_err(LaunchError::Leftovers)?;
    let starter = Some(rustix::process::getpid().as_raw_pid());
    let config = &SpawnerConfig { starter, ..config.clone() };
    let text = serde_json::to_vec(config).map_err(|error| LaunchError::Start(error.into()))?;
    let mut child = Command::new(executable)
        .arg(SPAWNER_ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn()
        .map_err(LaunchError::Start)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&text).map_err(LaunchError::Start)?;
    }
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        // Ends when the spawner has said its sentence and closed, or died.
        output.take(STARTED_MAX_BYTES).read_to_string(&mut said).map_err(LaunchError::Start)?;
    }
    // The first stage; the spawner itself is nobody's child any more.
    child.wait().map_err(LaunchError::Start)?;
    match serde_json::from_str::<Started>(said.trim()) {
        Ok(Ok(facts)) => Ok(facts),
        Ok(Err(reason)) => Err(LaunchError::Refused(reason)),
        Err(_) => Err(LaunchError::Silent(config.log_file.display().to_string())),
    }
}

/// Turns this process, the first one of a container, into the spawner, which then starts [`SpawnerConfig::child`]. Returns only on failure.
///
/// Signals TERM and INT are passed on to the child; when the child ends, everything else does, and the process with its exit code.
pub fn become_spawner(config: &SpawnerConfig) -> LaunchError {
    if let Err(error) = cleanup::leftovers(config) {
        return LaunchError::Leftovers(error);
    }
    LaunchError::Refused(second_stage(config, SECOND_STAGE_AS_FIRST_PROCESS))
}

/// Whether this process is the first one of its PID namespace, so that [`become_spawner`] is the way.
pub fn is_first_process() -> bool {
    rustix::process::getpid() == rustix::process::Pid::INIT
}

/// Whether a spawner of this instance runs.
pub fn is_running(config: &SpawnerConfig) -> bool {
    // Where there is no directory there is no spawner.
    lock_instance(&config.run_dir).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
}
