//! One task per Pod: it feeds the Pod's state machine, does what that says, and writes the status.
//!
//! ```text
//!  Pod object (watch) ─┐                       ┌─► tasks: sandbox, volumes, starts, stops, probes ─┐
//!  spawner's events ───┼─► PodState::step ─────┤                                                   │ messages
//!  own tasks ──────────┘                       └─► status: one write at a time, coalesced          │
//!         ▲────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! The worker itself never waits for anything but messages and time. A status that changes whether the Pod takes traffic is written at once,
//! any other a moment later, so that the steps of a start make one write. When the Pod has ended for its deletion, its last status is
//! written, its object is deleted (its uid as precondition), and the worker ends. Once the process shuts down it starts and reports nothing
//! more: containers go on, and roles of this process finish what they have in hand.
//!
//! Here are its life and its messages; [`adopt`] begins, [`ground`] and [`runs`] act, [`status`] tells, [`remove`] ends.

mod adopt;
mod ground;
mod remove;
mod runs;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_image::store::Lease;
use base_rt::Phase as ShutdownPhase;
use base_rt::watch;
use cluster_sandbox::spec::{ContainerId, Exit, PodState as SpawnerPod};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::builtin::HeldFiles;
use super::facts::{self, PodFacts, seconds};
use super::kubelet::Kubelet;
use super::launch::{self, Launched};
use super::network::WantedPort;
use super::pod_state::{Action, Event, PodState};
use super::runtime::{Aborts, Runtime};
use crate::objects::pods;

pub(crate) use remove::{remove, remove_logs, sweep_logs, sweep_volumes};

/// Messages that a worker may be behind.
pub(crate) const INBOX: usize = 64;

/// What a worker is told.
pub(crate) enum Message {
    /// Something for the state machine.
    State(Event),
    /// The sandbox is there, or why not.
    Sandbox(Result<Box<Runtime>, String>),
    /// The volumes' files are there, and how long they are good (not at all if there are none); or why not.
    Volumes(Result<Duration, String>),
    /// What came of a start.
    Launched(usize, u32, Launched),
    /// A run has ended, says the spawner.
    Exit {
        /// Which run.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// A role has ended with this code.
    RoleEnded(usize, u32, i32),
    /// A port listens.
    Listening(WantedPort),
    /// Probes may have other answers.
    Poke,
    /// A status has been written, or why not.
    Written(Box<PodStatus>, Result<(), String>),
}

/// Starts the worker of a Pod; `adopted` is what the spawner has of it.
pub(crate) fn spawn(
    node: &Arc<Kubelet>,
    pod: (Arc<Pod>, Option<SpawnerPod>),
    lines: (watch::Receiver<Option<Arc<Pod>>>, mpsc::Sender<Message>, mpsc::Receiver<Message>),
) {
    let (pod, adopted) = pod;
    let (updates, outbox, inbox) = lines;
    let now = node.clock.now();
    let worker = Worker {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        state: PodState::new(PodFacts::of(&pod), now),
        written: pod.status.clone(),
        is_terminal: pods::is_finished(&pod) && adopted.is_none(),
        is_gone: false,
        is_writing: false,
        write_at: None,
        pause_until: None,
        refresh_at: None,
        runtime: None,
        has_processes: watch::Sender::new(None),
        files: Arc::new(watch::Sender::new(Arc::default())),
        kept: BTreeMap::new(),
        is_ending: watch::Sender::new(false),
        stops: BTreeMap::new(),
        hooks: BTreeMap::new(),
        node: Arc::clone(node),
        pod,
        outbox,
    };
    node.tasks.spawn_transient("node/pod", Box::pin(worker.live(adopted, updates, inbox)));
}

struct Worker {
    node: Arc<Kubelet>,
    pod: Arc<Pod>,
    uid: String,
    state: PodState,
    outbox: mpsc::Sender<Message>,
    /// The status as it was written last.
    written: Option<PodStatus>,
    /// The Pod had ended for good before this process started.
    is_terminal: bool,
    /// The object is gone already.
    is_gone: bool,
    is_writing: bool,
    /// When a status is written though it is not urgent.
    write_at: Option<Instant>,
    /// Until when no status is written because the last write failed.
    pause_until: Option<Instant>,
    refresh_at: Option<Instant>,
    runtime: Option<Box<Runtime>>,
    /// Whether any container is more than a role of this process; known once the sandbox is there.
    has_processes: watch::Sender<Option<bool>>,
    /// The files of the volumes that roles mount.
    files: Arc<watch::Sender<Arc<HeldFiles>>>,
    /// What is kept of each container's run.
    kept: BTreeMap<usize, Kept>,
    /// Tells starts that are under way that the Pod is to end.
    is_ending: watch::Sender<bool>,
    stops: BTreeMap<usize, Aborts>,
    /// `postStart` hooks that are not done.
    hooks: BTreeMap<usize, Aborts>,
}

/// What a worker keeps of a run.
struct Kept {
    /// Its image's blobs and layers; none if the image was removed by force while an earlier process ran it.
    _lease: Option<Arc<Lease>>,
    /// What asks it to end.
    stop_signal: i32,
}

impl Worker {
    /// Lives until the Pod's end, or this process's: then nothing is begun or reported any more, and what has been begun goes on.
    async fn live(
        mut self,
        adopted: Option<SpawnerPod>,
        updates: watch::Receiver<Option<Arc<Pod>>>,
        inbox: mpsc::Receiver<Message>,
    ) {
        let shutdown = self.node.tasks.shutdown().clone();
        tokio::select! {
            biased;
            () = shutdown.reached(ShutdownPhase::Lame) => {}
            () = self.run(adopted, updates, inbox) => return,
        }
        // Roles finish what they have in hand; they and the Pod's sockets are this worker's.
        shutdown.reached(ShutdownPhase::Drained).await;
    }

    async fn run(
        &mut self,
        adopted: Option<SpawnerPod>,
        mut updates: watch::Receiver<Option<Arc<Pod>>>,
        mut inbox: mpsc::Receiver<Message>,
    ) {
        self.begin(adopted).await;
        while !self.state.is_over() {
            let due = self.next_due();
            let sleep = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    while let Ok(message) = inbox.try_recv() {
                        self.take(message);
                    }
                }
                changed = updates.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let latest = updates.borrow_and_update().clone();
                    self.updated(latest);
                }
                () = sleep => self.tick(),
            }
            self.report();
        }
        self.end(updates, inbox).await;
    }

    /// The grace period of the Pod's deletion, if it is being deleted.
    fn deletion(&self) -> Option<Duration> {
        let meta = &self.pod.metadata;
        meta.deletion_timestamp.as_ref()?;
        Some(meta.deletion_grace_period_seconds.map_or(self.state.facts.grace, seconds))
    }

    fn next_due(&self) -> Option<Instant> {
        let state = self.state.next_due().map(|at| Instant::now() + launch::until(self.node.clock, at));
        [state, self.write_at, self.refresh_at].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        if self.refresh_at.is_some_and(|at| at <= Instant::now()) {
            self.refresh_at = None;
            self.make_volumes();
        }
        self.step(Event::Tick);
    }

    /// The object has changed or gone.
    fn updated(&mut self, latest: Option<Arc<Pod>>) {
        let grace = match latest {
            Some(pod) => {
                self.state.facts.deadline = facts::deadline(&pod);
                self.pod = pod;
                self.deletion()
            }
            None => {
                self.is_gone = true;
                Some(Duration::ZERO)
            }
        };
        if let Some(grace) = grace {
            self.step(Event::Delete(grace));
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::State(event) => self.step(event),
            Message::Sandbox(Ok(runtime)) => {
                let ip = runtime.ip;
                self.hold(runtime);
                self.step(Event::SandboxMade(ip));
            }
            Message::Sandbox(Err(why)) => self.step(Event::SandboxFailed(why)),
            Message::Volumes(outcome) => self.volumes_made(outcome),
            Message::Launched(at, attempt, launched) => self.launched(at, attempt, launched),
            Message::Exit { container, exit } => self.exited(&container, &exit),
            Message::RoleEnded(at, attempt, code) => self.role_ended(at, attempt, code),
            Message::Listening(port) => self.listening(port),
            Message::Poke => self.poke(),
            Message::Written(status, outcome) => self.was_written(*status, outcome),
        }
    }

    fn poke(&self) {
        if let Some(runtime) = &self.runtime {
            runtime.poke();
        }
    }

    /// Something listens that did not: whoever waits for the Pod may look now.
    fn listening(&mut self, port: WantedPort) {
        self.poke();
        let is_role = self.runtime.as_ref().is_none_or(|runtime| runtime.roles.contains_key(&port.0));
        if !is_role {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            self.node.hints.send(&base_controller::hint::Hint::Listening {
                namespace: text(&self.pod.metadata.namespace),
                pod: text(&self.pod.metadata.name),
            });
        }
    }

    fn step(&mut self, event: Event) {
        let actions = self.state.step(event, self.node.clock.now());
        let is_ending = self.state.is_ending();
        self.is_ending.send_if_modified(|told| std::mem::replace(told, is_ending) != is_ending);
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::MakeSandbox => self.make_sandbox(),
            Action::MakeVolumes => self.make_volumes(),
            Action::Start { at, attempt } => self.start(at, attempt),
            Action::Hook { at, attempt } => self.hook(at, attempt),
            Action::Probe { at, attempt, kind } => self.probe(at, attempt, kind),
            Action::Stop { at, attempt, grace } => self.stop(at, attempt, grace),
            Action::RemoveSandbox => self.remove_sandbox(),
            Action::Tell { at, event } => {
                let cell = at.and_then(|at| self.state.cells.get(at));
                self.node.tell(&self.pod, cell.map(|cell| (cell.facts.name.as_str(), cell.facts.role)), event);
            }
        }
    }

    /// Starts a task whose result comes back as a message.
    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = Message> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let outbox = self.outbox.clone();
        self.node.tasks.spawn_transient(name, async move {
            // A worker that has ended needs no news.
            let _ = outbox.send(task.await).await;
        })
    }

    fn name(&self) -> (&str, &str) {
        let meta = &self.pod.metadata;
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}
