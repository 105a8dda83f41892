//! The instance's spawner, as `kwick up` finds it, or is about to be its parent or its child.

use std::time::Duration;

use anyhow::Context;
use base_rt::{Clock, Shutdown, Tasks};
use cluster_sandbox::spec::SpawnerFacts;
use cluster_sandbox::{ChildCommand, Sandbox, SandboxError, SpawnerConfig, launch};

use crate::cli::{block_on, remark};
use crate::exit::Refused;

/// This program, whatever has become of its file since.
pub(crate) const MYSELF: &str = "/proc/self/exe";
/// How long a spawner that is ending may take; longer than its pods may.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the spawner of this instance says of itself, if one runs. One that is ending is waited for.
pub(crate) fn find(config: &SpawnerConfig) -> anyhow::Result<Option<SpawnerFacts>> {
    let found = async {
        let mut has_told = false;
        loop {
            if !launch::is_running(config) {
                return Ok(None);
            }
            match ask(config).await {
                Ok(facts) if !facts.is_ending => return Ok(Some(facts)),
                Err(error @ SandboxError::Refused(_)) => return Err(error),
                // It is ending: its last act is to close its door.
                Ok(_) | Err(_) => {}
            }
            if !std::mem::replace(&mut has_told, true) {
                remark("waiting for the end of the pods that an earlier kwick left");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let unusable = |reason: String| {
        Refused::error(
            format!("the running spawner cannot be used: {reason}"),
            "`kwick down` ends it with its pods; then `kwick up` again",
        )
    };
    match block_on(async { tokio::time::timeout(ENDS_WITHIN, found).await })? {
        Ok(found) => found.map_err(|error| unusable(base_rt::error_chain(&error))),
        Err(_) => Err(unusable("it does not answer, or does not end".to_owned())),
    }
}

async fn ask(config: &SpawnerConfig) -> Result<SpawnerFacts, SandboxError> {
    let (handle, shutdown) = Shutdown::new();
    let tasks = Tasks::new(shutdown);
    let (sandbox, _events) = Sandbox::connect(&config.socket_path(), &tasks, Clock::system()).await?;
    handle.advance(base_rt::Phase::Stopped);
    Ok(sandbox.facts().clone())
}

/// This command once more, for a process that is not the first.
pub(crate) fn same_command() -> anyhow::Result<ChildCommand> {
    let text = |part: std::ffi::OsString| part.into_string().ok().context("an argument is not UTF-8");
    let arguments = std::env::args_os().skip(1).map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let command = std::iter::once(MYSELF.to_owned()).chain(arguments).collect();
    Ok(ChildCommand { command, env: env.collect() })
}
