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

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_image::store::Lease;
use base_rt::backoff::Backoff;
use base_rt::watch;
use base_rt::{Phase as ShutdownPhase, Timestamp, error_chain};
use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{
    ContainerId, ContainerPhase, ContainerState as SpawnerContainer, Exit, PodId, PodState as SpawnerPod,
};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::facts::{PodFacts, ProbeKind, containers, seconds};
use super::fields::Addresses;
use super::kubelet::Kubelet;
use super::launch::{self, Launch, Launched};
use super::logs::RunView;
use super::names::{self, ContainerTag};
use super::network::WantedPort;
use super::pod_state::{
    Action, Cell, Ended, Event, Ground, LOST_ENDED, Lost, LostRun, Phase, PodState, Resumed, unknown_end,
};
use super::pod_status::{ended_of, make_status};
use super::probes::{self, Attempt, Schedule};
use super::runtime::{self, Aborts, Running, Runtime};
use super::{sources, volumes};
use crate::objects::pods;

/// Messages that a worker may be behind.
pub(crate) const INBOX: usize = 64;
/// How long a status waits for more to come, unless it changes whether the Pod takes traffic.
const COALESCE: Duration = Duration::from_millis(20);
/// The least time between renewals of a token.
const RENEW_MIN: Duration = Duration::from_secs(1);
/// The least time between a hook and the end by force, as the kubelet has it.
const GRACE_MIN: Duration = Duration::from_secs(2);
/// The length of a uid: a UUID.
const UID_CHARS: usize = 36;
/// How long a status waits that could not be written.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
/// Delays between tries of what has to work in the end.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

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
        kept: BTreeMap::new(),
        is_deleted: watch::Sender::new(false),
        stops: BTreeMap::new(),
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
    /// What is kept of each container's run.
    kept: BTreeMap<usize, Kept>,
    /// Tells starts that are under way.
    is_deleted: watch::Sender<bool>,
    stops: BTreeMap<usize, Aborts>,
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

    /// Looks at what is there: a Pod that ended before, one that the spawner runs, one whose sandbox has gone, or a new one.
    async fn begin(&mut self, adopted: Option<SpawnerPod>) {
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        self.state.started_at = started.map_or(self.state.started_at, |time| time.0);
        // Known from the start, so that nothing is made for a Pod that is only to end.
        self.state.deletion = self.deletion();
        if self.is_terminal {
            self.state.sandbox = Ground::Gone;
            let statuses = self.known_statuses();
            for (cell, status) in self.state.cells.iter_mut().zip(statuses) {
                let terminated = status.and_then(|status| status.state?.terminated);
                cell.phase = Phase::Ended(
                    terminated.as_ref().map_or_else(|| unknown_end(self.state.started_at, LOST_ENDED), ended_of),
                );
            }
        } else {
            let is_taken_back = match adopted {
                Some(spawned) => self.adopt(spawned).await,
                None => false,
            };
            if !is_taken_back {
                let lost = self.known_statuses().into_iter().map(|status| status.map(lost_of)).collect();
                self.state.lose(lost, self.node.clock.now());
            }
        }
        let pod = Arc::clone(&self.pod);
        self.updated(Some(pod));
        self.step(Event::Tick);
        self.report();
    }

    /// The grace period of the Pod's deletion, if it is being deleted.
    fn deletion(&self) -> Option<Duration> {
        let meta = &self.pod.metadata;
        meta.deletion_timestamp.as_ref()?;
        Some(meta.deletion_grace_period_seconds.map_or(self.state.facts.grace, seconds))
    }

    /// The statuses of the containers in their order, as the object has them.
    fn known_statuses(&self) -> Vec<Option<k8s_openapi::api::core::v1::ContainerStatus>> {
        let status = self.pod.status.as_ref();
        let known = || {
            let inits = status.into_iter().flat_map(|status| status.init_container_statuses.iter().flatten());
            inits.chain(status.into_iter().flat_map(|status| status.container_statuses.iter().flatten()))
        };
        let of = |cell: &Cell| known().find(|status| status.name == cell.facts.name).cloned();
        self.state.cells.iter().map(of).collect()
    }

    /// Takes the Pod's sandbox and its runs back; answers whether that went well.
    async fn adopt(&mut self, spawned: SpawnerPod) -> bool {
        match runtime::adopt(&self.node, (&self.pod, &spawned.id), &self.outbox).await {
            Ok(runtime) => {
                self.state.ip = runtime.ip;
                self.state.sandbox = Ground::Ready;
                self.hold(Box::new(runtime));
            }
            Err(why) => {
                // A new one is made; making it removes what is there under its name.
                tracing::warn!(pod = self.uid, why, "a running pod could not be taken back");
                return false;
            }
        }
        let mut runs: BTreeMap<String, (ContainerTag, SpawnerContainer)> = BTreeMap::new();
        for container in spawned.containers {
            let Some(tag) = ContainerTag::parse(&container.tag) else { continue };
            let is_later = runs.get(&tag.container).is_none_or(|(known, _)| known.attempt < tag.attempt);
            if is_later {
                runs.insert(tag.container.clone(), (tag, container));
            }
        }
        let mut exits = Vec::new();
        for (at, status) in self.known_statuses().into_iter().enumerate() {
            let Some(name) = self.state.cells.get(at).map(|cell| cell.facts.name.clone()) else { continue };
            let Some((tag, container)) = runs.remove(&name) else {
                self.adopt_without_run(at, status);
                continue;
            };
            let lease = self.node.images.lease(&tag.image_id).await;
            self.kept.insert(at, Kept { _lease: lease, stop_signal: tag.stop_signal });
            self.resume(at, (&tag, &container), status);
            if let ContainerPhase::Exited(exit) = container.phase {
                exits.push((container.id, exit));
            }
        }
        // Only now, when it is known what else runs.
        for (container, exit) in exits {
            self.exited(&container, &exit);
        }
        true
    }

    fn resume(&mut self, at: usize, run: (&ContainerTag, &SpawnerContainer), status: Option<ContainerStatus>) {
        let (tag, container) = run;
        let last = status.as_ref().and_then(|status| status.last_state.as_ref()?.terminated.as_ref()).map(ended_of);
        let resumed = Resumed {
            attempt: tag.attempt,
            id: container.id.as_str().to_owned(),
            image_id: tag.image_id.clone(),
            since: container.started_at,
            last,
            is_started: status.as_ref().and_then(|status| status.started).unwrap_or(false),
            is_ready: status.as_ref().is_some_and(|status| status.ready),
        };
        for action in self.state.resume(at, resumed) {
            self.perform(action);
        }
    }

    /// A container of a sandbox that is there, of which the spawner has no run: a role of this process, or one that has not begun.
    fn adopt_without_run(&mut self, at: usize, status: Option<ContainerStatus>) {
        let Some(cell) = self.state.cells.get_mut(at) else { return };
        let Some(status) = status else { return };
        let is_role = self.runtime.as_ref().is_some_and(|runtime| runtime.roles.contains_key(&at));
        let Lost { attempt, run, last, .. } = lost_of(status);
        match run {
            LostRun::Ended(ended) if !cell.facts.restart.restarts(ended.code) => {
                cell.adopt_count(attempt, true, last);
                cell.phase = Phase::Ended(ended);
            }
            // A role that ran goes on in this process: that is no restart.
            LostRun::Ended(ended) => cell.adopt_count(attempt, true, Some(ended)),
            LostRun::Running => cell.adopt_count(attempt, !is_role, last),
            LostRun::None => cell.adopt_count(attempt, last.is_some(), last),
        }
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
                self.pod = pod;
                self.deletion()
            }
            None => {
                self.is_gone = true;
                Some(Duration::ZERO)
            }
        };
        if let Some(grace) = grace {
            self.is_deleted.send_replace(true);
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

    /// Has the Pod's sandbox, and tells who waits for it.
    fn hold(&mut self, runtime: Box<Runtime>) {
        self.has_processes.send_replace(Some(!runtime.is_of_roles(&self.pod)));
        self.runtime = Some(runtime);
    }

    fn volumes_made(&mut self, outcome: Result<Duration, String>) {
        let is_first = self.state.volumes == Ground::Making;
        match outcome {
            Ok(good_for) => {
                let has_files = self.runtime.is_some() && !good_for.is_zero();
                self.refresh_at = has_files.then(|| Instant::now() + good_for);
                if is_first {
                    self.step(Event::VolumesMade);
                }
            }
            Err(why) if is_first => self.step(Event::VolumesFailed(why)),
            Err(why) if self.runtime.is_some() => {
                tracing::warn!(pod = self.uid, why, "volumes keep their old content");
                self.refresh_at = Some(Instant::now() + self.node.config.refresh);
            }
            // They went with the sandbox.
            Err(_) => {}
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

    fn launched(&mut self, at: usize, attempt: u32, launched: Launched) {
        match launched {
            Launched::Refused { reason, message, backoff } => {
                self.step(Event::Refused { at, attempt, reason, message, backoff });
            }
            Launched::Dead(ended) => self.step(Event::Exited { at, attempt, ended }),
            Launched::Run(run) => {
                let launch::Run { image, stop_signal, id, since, role } = *run;
                let image_id = image.id.clone();
                self.kept.insert(at, Kept { _lease: Some(image.lease), stop_signal });
                if let Some(role) = role {
                    self.keep_role((at, attempt), role);
                }
                self.step(Event::Started { at, attempt, id, image_id, since });
            }
        }
    }

    fn keep_role(&mut self, run: (usize, u32), role: launch::RoleRun) {
        let (at, attempt) = run;
        let Some(runtime) = &mut self.runtime else { return };
        let launch::RoleRun { handle, shutdown, log } = role;
        let shutdown = Arc::new(shutdown);
        launch::follow_process(&self.node.tasks, &shutdown);
        let outbox = self.outbox.clone();
        let ended = handle.ended;
        let ending = self.node.tasks.spawn_transient("node/role", async move {
            let code = ended.await;
            // A worker that has ended needs no news.
            let _ = outbox.send(Message::RoleEnded(at, attempt, code)).await;
        });
        let mut tasks = vec![ending];
        if let Some(mut changed) = handle.changed {
            let outbox = self.outbox.clone();
            tasks.push(self.node.tasks.spawn_transient("node/role-changes", async move {
                while changed.changed().await.is_ok() && outbox.send(Message::Poke).await.is_ok() {}
            }));
        }
        runtime.sinks.insert(at, log);
        runtime.running.insert(at, Running { shutdown, handlers: handle.handlers, _tasks: Aborts(tasks) });
        runtime.poke();
    }

    fn role_ended(&mut self, at: usize, attempt: u32, code: i32) {
        let Some(cell) = self.state.cells.get(at).filter(|cell| cell.attempt == attempt) else { return };
        let id = names::container_id(&self.uid, &cell.facts.name, attempt);
        let reason = if code == 0 { "Completed" } else { "Error" };
        let started_at = since(cell);
        let ended = Ended {
            code,
            signal: None,
            reason: reason.to_owned(),
            message: None,
            started_at,
            finished_at: self.node.clock.now(),
            id,
        };
        self.ended(at, attempt, ended);
    }

    fn exited(&mut self, container: &ContainerId, exit: &Exit) {
        let found = self
            .state
            .cells
            .iter()
            .enumerate()
            .find(|(_, cell)| names::container_id(&self.uid, &cell.facts.name, cell.attempt) == container.as_str());
        let Some((at, cell)) = found else { return };
        let reason = match (exit.is_oom_killed, exit.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let (name, attempt) = (cell.facts.name.clone(), cell.attempt);
        let message = self.node.config.volumes_dir.join(names::message_path(&self.uid, &name, attempt));
        let log = self.node.config.logs_dir.join(names::log_path(&self.pod, &name, attempt));
        let words = containers(&self.pod)
            .nth(at)
            .and_then(|container| launch::last_words(container, (&message, &log), exit.code));
        let ended = Ended {
            code: exit.code,
            signal: exit.signal,
            reason: reason.to_owned(),
            message: words,
            started_at: since(cell),
            finished_at: exit.finished_at,
            id: container.as_str().to_owned(),
        };
        self.ended(at, attempt, ended);
    }

    fn ended(&mut self, at: usize, attempt: u32, ended: Ended) {
        if let Some(runtime) = &mut self.runtime {
            runtime.probes.remove(&at);
            runtime.running.remove(&at);
        }
        self.stops.remove(&at);
        self.step(Event::Exited { at, attempt, ended });
        self.poke();
    }

    fn step(&mut self, event: Event) {
        for action in self.state.step(event, self.node.clock.now()) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::MakeSandbox => self.make_sandbox(),
            Action::MakeVolumes => self.make_volumes(),
            Action::Start { at, attempt } => self.start(at, attempt),
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

    fn make_sandbox(&self) {
        let (node, pod, outbox) = (Arc::clone(&self.node), Arc::clone(&self.pod), self.outbox.clone());
        self.spawn(
            "node/sandbox",
            async move { Message::Sandbox(runtime::make(&node, &pod, &outbox).await.map(Box::new)) },
        );
    }

    /// Gathers what is in the volumes while the sandbox is being made, and hands it to the spawner once that is there.
    fn make_volumes(&self) {
        let has_files = volumes::volumes(&self.pod)
            .any(|volume| !matches!(volumes::plan(volume), Ok(volumes::Plan::Empty(_) | volumes::Plan::Host(_))));
        let (node, pod) = (Arc::clone(&self.node), Arc::clone(&self.pod));
        let (mut has_processes, mut is_deleted) = (self.has_processes.subscribe(), self.is_deleted.subscribe());
        let addresses = Addresses { pod: self.state.ip, host: self.node.config.ip };
        self.spawn("node/volumes", async move {
            if !has_files {
                return Message::Volumes(Ok(Duration::ZERO));
            }
            let now = node.clock.now();
            let contents = match node.fetcher.volumes(&pod, addresses, now).await {
                Ok(contents) => contents,
                Err(why) => return Message::Volumes(Err(why)),
            };
            let renew = contents.iter().filter_map(|content| content.renew_at).min();
            let refresh = node.config.refresh;
            let good_for = renew.map_or(refresh, |at| launch::until(node.clock, at).min(refresh).max(RENEW_MIN));
            tokio::select! {
                biased;
                // Errors mean that the Pod's worker has ended.
                _ = has_processes.wait_for(Option::is_some) => {}
                _ = is_deleted.wait_for(|is_deleted| *is_deleted) => {}
            }
            // A role has no file system.
            if *has_processes.borrow() != Some(true) {
                return Message::Volumes(Ok(Duration::ZERO));
            }
            Message::Volumes(sources::hand_over(&node.sandbox, &pod, contents).await.map(|()| good_for))
        });
    }

    fn container(&self, at: usize) -> Option<Container> {
        containers(&self.pod).nth(at).cloned()
    }

    fn start(&self, at: usize, attempt: u32) {
        let (Some(container), Some(runtime), Some(cell)) =
            (self.container(at), &self.runtime, self.state.cells.get(at))
        else {
            return;
        };
        let factory = runtime.roles.get(&at).map(Arc::clone);
        let ports = factory.as_ref().map(|factory| factory.ports(&container)).unwrap_or_default();
        let launch = Launch {
            node: Arc::clone(&self.node),
            pod: Arc::clone(&self.pod),
            role: cell.facts.role,
            attempt,
            ip: self.state.ip,
            factory,
            listeners: runtime.listeners_of(&ports),
            sockets: runtime.sockets.clone(),
            is_deleted: self.is_deleted.subscribe(),
            container,
        };
        self.spawn("node/start", async move { Message::Launched(at, attempt, Box::pin(launch.run()).await) });
    }

    fn probe(&mut self, at: usize, attempt: u32, kind: ProbeKind) {
        let Some(container) = self.container(at) else { return };
        let id = ContainerId::try_new(names::container_id(&self.uid, &container.name, attempt));
        let (Some(runtime), Ok(id)) = (&mut self.runtime, id) else { return };
        let Some(spec) = kind.of(&container) else { return };
        let Some(attempted) = Attempt::of_probe(spec, &container) else { return };
        let (way, poke) = (runtime.way(&self.node, id), runtime.poke.subscribe());
        let (schedule, outbox) = (Schedule::of(spec), self.outbox.clone());
        let message =
            move |outcome, is_periodic| Message::State(Event::Probed { at, attempt, kind, outcome, is_periodic });
        let probing = probes::probe(attempted, schedule, (way, poke), (outbox, message));
        let task = self.node.tasks.spawn_transient("node/probe", probing);
        runtime.probes.entry(at).or_default().0.push(task);
    }

    /// Ends a run: its hook, its signal, and force when its time is over.
    fn stop(&mut self, at: usize, attempt: u32, grace: Duration) {
        let Some(container) = self.container(at) else { return };
        let id = ContainerId::try_new(names::container_id(&self.uid, &container.name, attempt));
        let (Some(runtime), Ok(id)) = (&self.runtime, id) else { return };
        let way = runtime.way(&self.node, id.clone());
        let role = runtime.running.get(&at).map(|role| Arc::clone(&role.shutdown));
        let signal = self.kept.get(&at).map_or(names::SIGTERM, |kept| kept.stop_signal);
        let (node, outbox) = (Arc::clone(&self.node), self.outbox.clone());
        let task = self.node.tasks.spawn_transient("node/stop", async move {
            let deadline = Instant::now() + grace;
            let hook = container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
                .filter(|_| !grace.is_zero());
            if let Some(hook) = hook
                && let Err(why) = probes::hook(hook, &container, &way, grace).await
            {
                tracing::debug!(container = id.as_str(), why, "preStop hook failed");
            }
            if !grace.is_zero() {
                match &role {
                    Some(shutdown) => shutdown.advance(ShutdownPhase::Lame),
                    None => _ = node.sandbox.signal(&id, signal).await,
                }
                let least = if hook.is_some() { Instant::now() + GRACE_MIN } else { deadline };
                tokio::time::sleep_until(deadline.max(least)).await;
            }
            match &role {
                Some(shutdown) => {
                    shutdown.advance(ShutdownPhase::Stopped);
                    const KILLED: i32 = 137;
                    // A worker that has ended needs no news.
                    let _ = outbox.send(Message::RoleEnded(at, attempt, KILLED)).await;
                }
                None => kill(&node, &id).await,
            }
        });
        self.stops.entry(at).or_default().0.push(task);
    }

    fn remove_sandbox(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let (node, id, uid) = (Arc::clone(&self.node), runtime.id.clone(), self.uid.clone());
        runtime.sockets.close();
        drop(runtime);
        self.kept.clear();
        self.refresh_at = None;
        self.spawn("node/remove", async move {
            remove(&node, &id).await;
            remove_volumes(&node, &uid).await;
            Message::State(Event::SandboxGone)
        });
    }

    /// Tells whoever watches ports and reads logs, and writes the status if it has changed.
    fn report(&mut self) {
        self.want_ports();
        self.show_runs();
        if self.is_gone || self.is_terminal || self.is_writing {
            return;
        }
        let status = self.status();
        if self.written.as_ref() == Some(&status) {
            self.write_at = None;
            return;
        }
        let due = *self.write_at.get_or_insert_with(|| Instant::now() + COALESCE);
        let is_urgent = is_ready(Some(&status)) != is_ready(self.written.as_ref());
        let is_paused = self.pause_until.is_some_and(|until| until > Instant::now());
        if !is_paused && (is_urgent || due <= Instant::now()) {
            self.write_at = None;
            self.is_writing = true;
            let writing = write_status(Arc::clone(&self.node), Arc::clone(&self.pod), self.written.clone(), status);
            self.spawn("node/status", writing);
        }
    }

    fn status(&self) -> PodStatus {
        let previous = self.written.as_ref().or(self.pod.status.as_ref());
        make_status(&self.pod, &self.state, previous, (self.node.config.ip, self.node.clock.now()))
    }

    fn was_written(&mut self, status: PodStatus, outcome: Result<(), String>) {
        self.is_writing = false;
        match outcome {
            Ok(()) => self.written = Some(status),
            Err(why) => {
                tracing::debug!(pod = self.uid, why, "the status is written again later");
                self.pause_until = Some(Instant::now() + WRITE_AGAIN);
                self.write_at = self.pause_until;
            }
        }
    }

    /// The ports whose beginning to listen matters: those of probes, or else the first one that a container declares.
    fn want_ports(&self) {
        let Some(runtime) = &self.runtime else { return };
        let mut wanted = BTreeSet::new();
        for (at, (cell, container)) in self.state.cells.iter().zip(containers(&self.pod)).enumerate() {
            let Phase::Running(running) = &cell.phase else { continue };
            if running.is_stopping || runtime.roles.contains_key(&at) {
                continue;
            }
            let probes = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness]
                .into_iter()
                .filter_map(|kind| kind.of(container));
            let mut ports: BTreeSet<u16> =
                probes.filter_map(|probe| Attempt::of_probe(probe, container)?.port()).collect();
            if ports.is_empty() {
                let declared = container.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP"));
                ports.extend(declared.filter_map(|port| u16::try_from(port.container_port).ok()).take(1));
            }
            wanted.extend(ports.into_iter().map(|port| (at, cell.attempt, port)));
        }
        runtime.wanted.send_if_modified(|present| {
            let is_other = *present != wanted;
            if is_other {
                *present = wanted;
            }
            is_other
        });
    }

    fn show_runs(&self) {
        let sinks = self.runtime.as_ref().map(|runtime| &runtime.sinks);
        let runs = self.state.cells.iter().enumerate().map(|(at, cell)| {
            let before = cell.attempt.checked_sub(1);
            let (shown, previous, waiting) = match &cell.phase {
                Phase::Running(_) | Phase::Ended(_) => (Some(cell.attempt), before, String::new()),
                Phase::Starting { reason, .. } => (before, before, reason.clone()),
                // A run that is to follow has no number yet.
                Phase::Waiting { reason, .. } => {
                    let last = cell.last.is_some().then_some(cell.attempt);
                    (last, last, reason.clone())
                }
            };
            let is_running = matches!(cell.phase, Phase::Running(_));
            let sink = sinks.and_then(|sinks| sinks.get(&at).cloned());
            (cell.facts.name.clone(), RunView { shown, previous, is_running, waiting, sink })
        });
        self.node.show(self.name(), &self.uid, runs.collect());
    }

    fn name(&self) -> (&str, &str) {
        let meta = &self.pod.metadata;
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    /// Writes the last status, once no other write is under way, deletes the object, and waits until the watch says that it is gone: what
    /// the watch still had to tell of it would otherwise be taken for a new Pod.
    async fn end(&mut self, mut updates: watch::Receiver<Option<Arc<Pod>>>, mut inbox: mpsc::Receiver<Message>) {
        while self.is_writing {
            match inbox.recv().await {
                Some(Message::Written(status, outcome)) => self.was_written(*status, outcome),
                Some(_) => {}
                None => break,
            }
        }
        if !self.is_gone {
            let status = self.status();
            if !self.is_terminal && self.written.as_ref() != Some(&status) {
                // The object goes anyway.
                let _ = write_status(Arc::clone(&self.node), Arc::clone(&self.pod), self.written.clone(), status).await;
            }
            delete(&self.node, &self.pod).await;
        }
        // A Pod without a sandbox may have volumes and logs.
        remove_volumes(&self.node, &self.uid).await;
        let (namespace, name) = self.name();
        remove_logs(&self.node, &names::log_directory([namespace, name, &self.uid])).await;
        // An error means that the watch has ended with the process.
        let _ = updates.wait_for(Option::is_none).await;
        self.node.forget(&self.uid, (namespace, name));
    }
}

fn since(cell: &Cell) -> Option<Timestamp> {
    match &cell.phase {
        Phase::Running(running) => Some(running.since),
        _ => None,
    }
}

/// What a status says of a container whose sandbox has gone.
fn lost_of(status: ContainerStatus) -> Lost {
    let state = status.state.unwrap_or_default();
    let run = match (&state.terminated, state.running) {
        (Some(terminated), _) => LostRun::Ended(ended_of(terminated)),
        (None, Some(_)) => LostRun::Running,
        (None, None) => LostRun::None,
    };
    Lost {
        attempt: u32::try_from(status.restart_count).unwrap_or_default(),
        image_id: status.image_id,
        run,
        last: status.last_state.and_then(|last| last.terminated).as_ref().map(ended_of),
    }
}

fn is_ready(status: Option<&PodStatus>) -> bool {
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == pods::READY).any(|condition| condition.status == "True")
}

/// Kills a run; one that has ended is fine.
async fn kill(node: &Kubelet, id: &ContainerId) {
    if let Err(error) = node.sandbox.kill(id).await
        && !matches!(error.refusal(), Some(RefusalCode::NotFound | RefusalCode::Busy))
    {
        tracing::error!(container = id.as_str(), error = error_chain(&error), "container is not killed");
    }
}

/// Removes what this process wrote for a Pod.
async fn remove_volumes(node: &Kubelet, uid: &str) {
    let directory = node.config.volumes_dir.join(uid);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(pod = uid, error = error_chain(&error), "volumes are not removed");
    }
}

/// Has a log, or a directory of logs, removed: the spawner writes them.
pub(crate) async fn remove_logs(node: &Kubelet, path: &Path) {
    if let Err(error) = node.sandbox.remove_logs(path).await {
        tracing::warn!(path = %path.display(), error = error_chain(&error), "logs are not removed");
    }
}

/// Removes the logs of Pods that are gone and that no process has seen the end of.
pub(crate) async fn sweep_logs(node: &Kubelet) {
    let Ok(mut entries) = tokio::fs::read_dir(&node.config.logs_dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let uid = name.to_str().and_then(names::uid_of_logs);
        if uid.is_some_and(|uid| uid.len() == UID_CHARS && !node.has(uid)) {
            remove_logs(node, Path::new(&name)).await;
        }
    }
}

/// Removes what an earlier process wrote for Pods that are gone.
pub(crate) async fn sweep_volumes(node: &Kubelet) {
    let Ok(mut entries) = tokio::fs::read_dir(&node.config.volumes_dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        // Other things may lie there that are not the node's.
        let uid = name.to_str().filter(|name| name.len() == UID_CHARS && !node.has(name));
        if let Some(uid) = uid {
            remove_volumes(node, uid).await;
        }
    }
}

/// Removes a pod from the spawner, however often it takes.
pub(crate) async fn remove(node: &Kubelet, id: &PodId) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        match node.sandbox.remove_pod(id).await {
            Ok(()) => return,
            Err(error) if error.refusal() == Some(RefusalCode::NotFound) => return,
            Err(error) => {
                tracing::error!(pod = id.as_str(), error = error_chain(&error), "pod is not removed");
                tokio::select! {
                    biased;
                    // The next process finds it and goes on.
                    () = node.tasks.shutdown().reached(ShutdownPhase::Stopped) => return,
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
            }
        }
    }
}

/// Writes a status: a merge patch of what the node decides, for this uid only.
async fn write_status(node: Arc<Kubelet>, pod: Arc<Pod>, previous: Option<PodStatus>, status: PodStatus) -> Message {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), namespace);
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": merge(previous.as_ref(), &status) });
    #[expect(clippy::disallowed_methods, reason = "the node's pod status is outside of any plan (ARCHITECTURE.md)")]
    let written = api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await;
    let outcome = match written {
        // Gone, or another Pod of this name: there is nothing to say any more.
        Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => Ok(()),
        written => written.map(drop).map_err(|error| error_chain(&error)),
    };
    Message::Written(Box::new(status), outcome)
}

/// The fields of `status`, and `null` for those that only `previous` has.
fn merge(previous: Option<&PodStatus>, status: &PodStatus) -> Value {
    let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
    let mut merged = value(status);
    let old = previous.map(value).unwrap_or_default();
    if let (Some(merged), Some(old)) = (merged.as_object_mut(), old.as_object()) {
        for key in ["podIP", "podIPs", "message", "reason", "initContainerStatuses"] {
            if old.contains_key(key) && !merged.contains_key(key) {
                merged.insert(key.to_owned(), Value::Null);
            }
        }
    }
    merged
}

/// Deletes the object of a Pod that has ended, however often it takes.
async fn delete(node: &Kubelet, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), namespace);
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        #[expect(clippy::disallowed_methods, reason = "the node ends its pods outside of any plan (ARCHITECTURE.md)")]
        match api.delete(name, &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = name, error = error_chain(&error), "pod is not deleted yet");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}
