//! The unprivileged process: everything of an instance that listens, decides and serves, and the order in which it starts and ends.
//!
//! ```text
//! start  spawner ► listeners ► store, API ► (cluster) node, controllers ► (all) Knative, gateway ► said to be ready
//! end    Lame: listeners stop, requests finish ► Drained: controllers end ► store to disk ► (SIGINT) the spawner ends pods ► Stopped
//! ```
//! SIGINT ends the instance; SIGTERM ends this process and keeps the pods for the next one.

mod announce;
mod api;
mod listeners;
mod status;

use std::time::Duration;

use anyhow::{Context, Result};
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, TaskFailure, Tasks};
use cluster_sandbox::{Events, Sandbox};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use announce::READY;
use api::Api;
use listeners::Listeners;

use crate::cli::Floors;
use crate::exit::{Ended, FAILED, Refused, SPAWNER_DIED};
use crate::instance::data_dir::DataDir;
use crate::instance::record::Record;

/// The threads of the control plane. The data plane has its own.
const CONTROL_THREADS: usize = 2;
/// How long tasks may take to end.
const SETTLE: Duration = Duration::from_secs(5);
/// How long pods have to end.
const PODS_GRACE: Duration = Duration::from_secs(30);

/// What to serve.
#[derive(Debug)]
pub(crate) struct Options {
    /// The instance.
    pub(crate) dir: DataDir,
    /// How much of it.
    pub(crate) floors: Floors,
    /// Whether somebody waits at the other end of standard output.
    pub(crate) is_detached: bool,
}

/// What every part is handed.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

/// Why the process ends.
enum End {
    /// SIGINT: the instance ends.
    Down,
    /// SIGTERM: the process ends, pods stay.
    Restart,
    /// A part failed.
    Failed(TaskFailure),
    /// There is no spawner any more.
    SpawnerDied,
}

/// Serves until a signal or a failure.
pub(crate) fn run(options: &Options) -> Result<()> {
    // The kernel named it after the link that it was executed through.
    nix::sys::prctl::set_name(c"kwick").context("cannot name the process")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let (handle, shutdown) = Shutdown::new();
    let process = Process { clock: Clock::system(), tasks: Tasks::new(shutdown) };
    // From here on signals are noticed, however long the start takes.
    let mut signals = Signals::new()?;
    let record = Record::load(&options.dir)?.context("the instance has no record; start it with `kwick up`")?;
    let socket = record.spawner_config(&options.dir)?.socket_path();
    let (sandbox, events) = connect(&socket, &process).await?;
    match start(options, &record, &sandbox, events, &process).await {
        Ok(running) => {
            announce::ready(options, &record)?;
            let end = signals.wait(&process.tasks, &sandbox).await;
            stop(end, running, &sandbox, &handle, &process.tasks).await
        }
        Err(error) => {
            end_if_empty(&sandbox).await;
            Err(error)
        }
    }
}

/// What runs, as far as its end needs it.
struct Running {
    api: Api,
}

async fn start(
    options: &Options,
    record: &Record,
    sandbox: &Sandbox,
    events: Events,
    process: &Process,
) -> Result<Running> {
    let listeners = Listeners::open(sandbox, record, options.floors).await?;
    let api = Api::start(options, record, sandbox, listeners.api, process).await?;
    drop(events);
    Ok(Running { api })
}

async fn connect(socket: &std::path::Path, process: &Process) -> Result<(Sandbox, Events)> {
    Sandbox::connect(socket, &process.tasks, process.clock).await.map_err(|error| {
        Refused::error(
            format!("the running spawner cannot be used: {}", base_rt::error_chain(&error)),
            "`kwick down` ends it with its pods; then `kwick up` again",
        )
    })
}

/// A start that failed leaves no spawner behind, unless it keeps somebody's pods.
async fn end_if_empty(sandbox: &Sandbox) {
    if sandbox.pods().await.is_ok_and(|pods| pods.is_empty())
        && let Err(error) = sandbox.down(Duration::ZERO).await
    {
        tracing::warn!(error = %base_rt::error_chain(&error), "the spawner does not end");
    }
}

async fn stop(end: End, running: Running, sandbox: &Sandbox, handle: &ShutdownHandle, tasks: &Tasks) -> Result<()> {
    handle.advance(Phase::Lame);
    handle.advance(Phase::Drained);
    running.api.close();
    let outcome = match end {
        End::Down => sandbox.down(PODS_GRACE).await.context("the spawner does not end its pods"),
        End::Restart => Ok(()),
        End::Failed(failure) => Err(Ended { code: FAILED, message: failure.to_string() }.into()),
        End::SpawnerDied => {
            let message = "the spawner died, and the pods with it; the next `kwick up` cleans up and starts them again";
            Err(Ended { code: SPAWNER_DIED, message: message.to_owned() }.into())
        }
    };
    handle.advance(Phase::Stopped);
    let _ = tokio::time::timeout(SETTLE, tasks.finished()).await;
    outcome
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    async fn wait(&mut self, tasks: &Tasks, sandbox: &Sandbox) -> End {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => End::Down,
            _ = self.terminate.recv() => End::Restart,
            () = sandbox.gone() => End::SpawnerDied,
            failure = tasks.failure() => End::Failed(failure),
        }
    }
}
