//! The unprivileged process: everything of an instance that listens, decides and serves, and the order in which it starts and ends.
//!
//! ```text
//! start  spawner ► listeners ► store, API ► (cluster) node, controllers ► (all) Knative, gateway ► said to be ready
//! end    Lame: listeners stop, requests finish ► Drained: keys in hand finish ► store to disk ► (SIGINT) the spawner ends pods ► Stopped
//! ```
//! SIGINT ends the instance; SIGTERM ends this process and keeps the pods for the next one. Both act at once during the start too, as does
//! the end of the spawner or of a task.

mod addresses;
mod announce;
mod api;
mod cluster;
pub(crate) mod ending;
mod explain;
mod images;
mod knative;
mod listeners;
mod logs;
mod machine;
mod measures;
mod own_log;
mod part_logs;
mod parts;
pub(crate) mod queue;
mod status;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base_rt::metrics::Scope;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, TaskFailure, Tasks};
use cluster_apiserver::audit::AuditConfig;
use cluster_apiserver::{Entropy, Identity};
use cluster_sandbox::{Events, Sandbox};
use futures::FutureExt;

pub(crate) use announce::READY;
use cluster::ClusterParts;
use ending::{Asked, Signals};
use explain::Explain;
use images::{Images, OwnImages};
pub(crate) use knative::INGRESS_CLASS;
use knative::{DataPath, Knative, KnativeParts};
use listeners::Listeners;
use logs::PodLogs;
use measures::Measures;
pub(crate) use part_logs::PartLogs;
use streams::PodStreams;

use crate::exit::{Ended, FAILED, Refused, SPAWNER_DIED};
use crate::instance::data_dir::DataDir;
use crate::instance::record::Record;
use kwick::assembly::{ControlPlane, Level, Process};

/// Who writes what must be there before any controller runs.
const INSTALLER: &str = "system:kwick";
/// The threads of the control plane. The data plane has its own.
const CONTROL_THREADS: usize = 2;
/// How long after the start what only the start needed stays in memory: first deployments need much of the same.
const START_IS_OVER: Duration = Duration::from_secs(10);
/// How long pods have to end that do not ask for less.
const PODS_GRACE: Duration = Duration::from_secs(30);

/// What to serve.
#[derive(Debug)]
pub(crate) struct Options {
    /// The instance.
    pub(crate) dir: DataDir,
    /// How much of it.
    pub(crate) level: Level,
    /// Whether somebody waits at the other end of standard output.
    pub(crate) is_detached: bool,
    /// Where the tracing of Knative's parts goes too.
    pub(crate) part_logs: PartLogs,
    /// What is recorded of requests to the API, if anything is.
    pub(crate) audit: Option<AuditConfig>,
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
    // Huge pages double the memory of a heap of small objects. A kernel without them has nothing to switch off.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let (handle, shutdown) = Shutdown::new();
    let seed = Entropy::from_os().number();
    let process = Process::new(Clock::system(), Tasks::new(shutdown), Scope::root(), seed);
    // From here on signals are noticed, however long the start takes.
    let mut signals = Signals::new()?;
    let record = Record::load(&options.dir)?.context("the instance has no record; start it with `kwick up`")?;
    let socket = record.spawner_config(&options.dir)?.socket_path();
    let (sandbox, events) = connect(&socket, &process).await?;
    let starting = Starting { options, record: &record, sandbox: &sandbox, process: &process };
    let started = tokio::select! {
        biased;
        end = wait(&mut signals, &process.tasks, &sandbox) => Err(end),
        running = starting.run(events) => Ok(running),
    };
    match started {
        Ok(Ok(running)) => {
            announce::ready(options, &record, &sandbox.facts().notices)?;
            if options.is_detached {
                own_log::bound(&process.tasks);
            }
            forget_start(&process.tasks);
            let end = wait(&mut signals, &process.tasks, &sandbox).await;
            stop(end, Some(running), &sandbox, &handle, &process.tasks).await
        }
        // Without a spawner whatever was asked of it fails, and that is what there is to say.
        Ok(Err(_)) if sandbox.gone().now_or_never().is_some() => {
            stop(End::SpawnerDied, None, &sandbox, &handle, &process.tasks).await
        }
        Ok(Err(error)) => {
            end_if_empty(&sandbox).await;
            Err(error)
        }
        Err(end) => stop(end, None, &sandbox, &handle, &process.tasks).await,
    }
}

/// What runs, as far as its end needs it.
struct Running {
    control: ControlPlane,
    knative: Option<Knative>,
}

/// What everything is started from.
struct Starting<'a> {
    options: &'a Options,
    record: &'a Record,
    sandbox: &'a Sandbox,
    process: &'a Process,
}

impl Starting<'_> {
    async fn run(&self, events: Events) -> Result<Running> {
        let Self { options, record, sandbox, process } = *self;
        let level = options.level;
        let mut listeners = Listeners::open(sandbox, record, level).await?;
        let images = self.images(&mut listeners).await?;
        let logs = Arc::new(PodLogs::default());
        let mut config = api::configure(options, record, sandbox, process)?;
        let explain = Arc::new(Explain::default());
        config.routes.extend(explain.routes());
        config.logs = Some(Arc::<PodLogs>::clone(&logs));
        let measures = Arc::new(Measures::default());
        // Without a node nothing is measured.
        if images.is_some() {
            config.measures = Some(Arc::<Measures>::clone(&measures));
        }
        let streams = Arc::new(PodStreams::default());
        config.streams = Some(Arc::<PodStreams>::clone(&streams));
        let image = images.as_ref().map_or_else(String::new, |(_, own)| own.reference.to_string());
        let control = ControlPlane::open(config, level, &knative::installation(image)).await;
        let control = control.map_err(api::refusal)?;
        let network = sandbox.facts().network.clone().context("the spawner has no network")?;
        let master = control.api.client_of_installer(&Identity::master(INSTALLER));
        addresses::write(&master, level, network.bridge_ip, network.ranges.services).await?;
        let mut running = Running { control, knative: None };
        let control = &running.control;
        if let Some((images, own)) = images {
            let path = DataPath::start(process, record, usize::from(listeners::workers()))?;
            let dir = &options.dir;
            let parts = ClusterParts {
                process,
                control,
                sandbox,
                network: &network,
                dir,
                images: &images,
                own: &own,
                path: &path,
                part_logs: &options.part_logs,
            };
            let node = cluster::start(&parts, events).await?;
            logs.set(node.clone());
            measures.set(node.clone());
            streams.set(node);
            if level == Level::All {
                let parts = KnativeParts { process, control, record, images: &images, explain: &explain };
                running.knative = Some(Knative::start(path, parts, &mut listeners).await?);
            }
        }
        api::serve(options, record, sandbox, &running.control.api, listeners.api)?;
        Ok(running)
    }

    /// The image store with this program in it, and the registry over it.
    async fn images(&self, listeners: &mut Listeners) -> Result<Option<(Images, OwnImages)>> {
        let Self { options, record, process, .. } = *self;
        if options.level < Level::Cluster {
            return Ok(None);
        }
        let images = Images::open(&options.dir, record, process)?;
        let (of_task, dir, clock) = (images.clone(), options.dir.clone(), process.clock);
        let own = tokio::task::spawn_blocking(move || of_task.put_program(&dir, clock))
            .await
            .context("storing the image")??;
        let (host, pods) = (std::mem::take(&mut listeners.registry), std::mem::take(&mut listeners.registry_inside));
        images.serve(host, pods, process)?;
        Ok(Some((images, own)))
    }
}

/// Gives back the memory of the code that only the start needed, once that is over.
fn forget_start(tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_transient("kwick/forget-start", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Lame) => return,
            () = tokio::time::sleep(START_IS_OVER) => {}
        }
        if let Err(error) = cluster_sandbox::release_text() {
            tracing::debug!(error = base_rt::error_chain(&error), "the code of the start stays in memory");
        }
    });
}

async fn connect(socket: &std::path::Path, process: &Process) -> Result<(Sandbox, Events)> {
    let connected = Sandbox::connect(socket, &process.tasks, process.clock).await.map_err(|error| {
        Refused::error(
            format!("the running spawner cannot be used: {}", base_rt::error_chain(&error)),
            "`kwick down` ends it with its pods; then `kwick up` again",
        )
    })?;
    if connected.0.facts().is_ending {
        return Err(Refused::error("the spawner has just begun to end", "`kwick up` again: it waits for the end"));
    }
    Ok(connected)
}

/// A start that failed leaves no spawner behind, unless it keeps somebody's pods.
async fn end_if_empty(sandbox: &Sandbox) {
    if sandbox.pods().await.is_ok_and(|pods| pods.is_empty())
        && let Err(error) = sandbox.down(Duration::ZERO).await
    {
        tracing::warn!(error = %base_rt::error_chain(&error), "the spawner does not end");
    }
}

/// Ends what runs, in order; none if the start was not over yet.
async fn stop(
    end: End,
    running: Option<Running>,
    sandbox: &Sandbox,
    handle: &ShutdownHandle,
    tasks: &Tasks,
) -> Result<()> {
    let in_flight = async {
        if let Some(knative) = running.as_ref().and_then(|running| running.knative.as_ref()) {
            knative.drained().await;
        }
    };
    ending::drain(handle, tasks, in_flight).await;
    if let Some(running) = &running {
        running.control.api.close();
    } else if !matches!(end, End::Down) {
        end_if_empty(sandbox).await;
    }
    let outcome = match end {
        End::Down => sandbox.down(PODS_GRACE).await.context("the spawner does not end its pods"),
        End::Restart => Ok(()),
        End::Failed(failure) => Err(Ended { code: FAILED, message: failure.to_string() }.into()),
        End::SpawnerDied => {
            let message = "the spawner died, and the pods with it; the next `kwick up` cleans up and starts them again";
            Err(Ended { code: SPAWNER_DIED, message: message.to_owned() }.into())
        }
    };
    ending::stop(handle, tasks).await;
    outcome
}

/// What ends it: a signal, the spawner's death, or a task that failed.
async fn wait(signals: &mut Signals, tasks: &Tasks, sandbox: &Sandbox) -> End {
    tokio::select! {
        biased;
        asked = signals.next() => match asked {
            Asked::Interrupt => End::Down,
            Asked::Terminate => End::Restart,
        },
        () = sandbox.gone() => End::SpawnerDied,
        failure = tasks.failure() => End::Failed(failure),
    }
}
