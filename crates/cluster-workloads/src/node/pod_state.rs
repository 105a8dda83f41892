//! The life of a Pod on this node, as a value: `step(event, now)` changes it and says what is to be done.
//!
//! ```text
//!  sandbox + volumes ─► init containers, one after the other ─► containers ─► ended for good ─► sandbox removed
//!       each:  Waiting ─Start─► Starting ─Started─► Running ─Exited─► Ended ─(policy, back-off)─► Waiting
//!  deletion: Stop all ─► all ended ─► RemoveSandbox ─► is_over
//! ```
//! Nothing here waits or asks: times come in, and [`PodState::next_due`] says when to look again. An event about a run that is not the
//! present one (its attempt differs) changes nothing, so that late and repeated news do no harm. Back-off is the kubelet's: the first
//! restart at once, then 10 s, doubling to 5 min; ten minutes of running forgive.

use std::net::IpAddr;
use std::time::Duration;

use base_controller::PlanEvent;
use base_rt::Timestamp;
use jiff::SignedDuration;

use super::facts::{ContainerFacts, PodFacts, ProbeKind, RestartPolicy, Role};

/// The first delay of a back-off, and the longest.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(10);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(300);
/// How long a container has to run for its crashes to be forgiven.
const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// The first delay after which what a Pod needs before its containers is tried again, and the longest.
const RETRY_FIRST: SignedDuration = SignedDuration::from_millis(500);
const RETRY_MAX: SignedDuration = SignedDuration::from_secs(120);
/// Doublings after which any back-off has reached its maximum.
const MAX_LEVEL: u32 = 16;

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub(crate) reason: String,
    /// What it said of it.
    pub(crate) message: Option<String>,
    /// When it was started, if it was.
    pub(crate) started_at: Option<Timestamp>,
    /// When it ended.
    pub(crate) finished_at: Timestamp,
    /// The run's name; empty if it never started.
    pub(crate) id: String,
}

/// A run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Since when.
    pub(crate) since: Timestamp,
    /// The run's name.
    pub(crate) id: String,
    /// Whether its startup probe is content.
    pub(crate) is_started: bool,
    /// Whether it takes traffic.
    pub(crate) is_ready: bool,
    /// Whether it has been asked to end.
    pub(crate) is_stopping: bool,
    /// Outcomes in a row, by probe: successes above, failures below zero.
    tallies: [i64; 3],
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// To be started, at once when it is its turn or not before `due`.
    Waiting {
        /// Why it does not run, in Kubernetes' words.
        reason: String,
        /// More about it.
        message: Option<String>,
        /// Not before.
        due: Option<Timestamp>,
    },
    /// Its image is being fetched, or it is being started.
    Starting {
        /// What is shown meanwhile.
        reason: String,
        /// More about it.
        message: Option<String>,
    },
    /// It runs.
    Running(Running),
    /// It has ended for good.
    Ended(Ended),
}

/// A container.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// What it is.
    pub(crate) facts: ContainerFacts,
    /// How far it is.
    pub(crate) phase: Phase,
    /// The number of the present run; how often it was restarted.
    pub(crate) attempt: u32,
    /// How the run before the present one ended.
    pub(crate) last: Option<Ended>,
    /// The image that it runs or ran, as `name@digest`.
    pub(crate) image_id: String,
    /// Whether the next start is another run.
    has_run: bool,
    /// Crashes in a row.
    crashes: u32,
    /// Failed starts in a row.
    failures: u32,
}

/// A run that an earlier process of this node has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// Its number.
    pub(crate) attempt: u32,
    /// Its name.
    pub(crate) id: String,
    /// What it runs, as `name@digest`.
    pub(crate) image_id: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// How the run before it ended.
    pub(crate) last: Option<Ended>,
    /// Whether its startup probe has been content.
    pub(crate) is_started: bool,
    /// Whether it took traffic.
    pub(crate) is_ready: bool,
}

/// A container of a sandbox that has gone, as its status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The number of its last run.
    pub(crate) attempt: u32,
    /// What it ran, as `name@digest`.
    pub(crate) image_id: String,
    /// What became of that run.
    pub(crate) run: LostRun,
    /// How the run before it ended.
    pub(crate) last: Option<Ended>,
}

/// What a status says of a run in a sandbox that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LostRun {
    /// There was none.
    None,
    /// It ran.
    Running,
    /// It had ended.
    Ended(Ended),
}

impl Lost {
    fn has_run(&self) -> bool {
        self.run != LostRun::None || self.last.is_some()
    }
}

/// What is said of a container that had ended and of which nothing else is known; as the kubelet says it.
pub(crate) const LOST_ENDED: &str = "The container could not be located when the pod was terminated";
/// The same of one that ran, and of one that had not run.
const LOST_RUNNING: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";
const LOST_UNSTARTED: &str = "The container could not be located when the pod was deleted";

/// The end of a run that nobody has seen.
pub(crate) fn unknown_end(at: Timestamp, message: &str) -> Ended {
    Ended {
        code: 137,
        signal: None,
        reason: "ContainerStatusUnknown".to_owned(),
        message: Some(message.to_owned()),
        started_at: None,
        finished_at: at,
        id: String::new(),
    }
}

/// What containers need before they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// To be made, not before the time.
    Absent(Option<Timestamp>),
    /// Being made.
    Making,
    /// There.
    Ready,
    /// Being removed.
    Removing,
    /// Removed for good.
    Gone,
}

/// A Pod on this node.
#[derive(Clone, Debug)]
pub(crate) struct PodState {
    /// What it is.
    pub(crate) facts: PodFacts,
    /// Its containers, init containers first.
    pub(crate) cells: Vec<Cell>,
    /// Its namespaces and network.
    pub(crate) sandbox: Ground,
    /// The files of its volumes.
    pub(crate) volumes: Ground,
    /// Its address, once it has one.
    pub(crate) ip: Option<IpAddr>,
    /// Since when the node has it.
    pub(crate) started_at: Timestamp,
    /// The grace period of its deletion, once it is being deleted.
    pub(crate) deletion: Option<Duration>,
    /// Failed attempts to make sandbox or volumes.
    failures: u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Time has passed, or it begins.
    Tick,
    /// The sandbox is there.
    SandboxMade(Option<IpAddr>),
    /// It could not be made.
    SandboxFailed(String),
    /// It has been removed.
    SandboxGone,
    /// The volumes' files are there.
    VolumesMade,
    /// They could not be made.
    VolumesFailed(String),
    /// A run could not be started.
    Refused {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// What is shown until the next try.
        reason: String,
        /// More about it.
        message: String,
        /// Shown instead of `reason` while the next try is waited for.
        backoff: Option<(String, String)>,
    },
    /// A run has been started.
    Started {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// Its name.
        id: String,
        /// What it runs.
        image_id: String,
        /// When.
        since: Timestamp,
    },
    /// A run has ended.
    Exited {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// How.
        ended: Ended,
    },
    /// A probe has an answer.
    Probed {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// Which probe.
        kind: ProbeKind,
        /// What it says, or why it failed.
        outcome: Result<(), String>,
        /// Whether its period was over. A try before that can only bring good news.
        is_periodic: bool,
    },
    /// The Pod is being deleted with this grace period.
    Delete(Duration),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the sandbox.
    MakeSandbox,
    /// Make the volumes' files.
    MakeVolumes,
    /// Fetch the image of a container and start it.
    Start {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
    },
    /// Begin to probe.
    Probe {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// How.
        kind: ProbeKind,
    },
    /// End a run: hook, signal, and after the grace period by force.
    Stop {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// How long it has.
        grace: Duration,
    },
    /// Remove the sandbox and what is in it.
    RemoveSandbox,
    /// Tell people.
    Tell {
        /// About which container, if one.
        at: Option<usize>,
        /// What.
        event: PlanEvent,
    },
}

impl PodState {
    /// A Pod that the node has just been given.
    pub(crate) fn new(facts: PodFacts, now: Timestamp) -> Self {
        let has_inits = facts.containers.iter().any(|container| container.role != Role::Main);
        let cells = facts.containers.iter().map(|container| Cell::new(container.clone(), has_inits)).collect();
        Self {
            facts,
            cells,
            sandbox: Ground::Absent(None),
            volumes: Ground::Absent(None),
            ip: None,
            started_at: now,
            deletion: None,
            failures: 0,
        }
    }

    /// Takes in what happened and says what is to be done now.
    pub(crate) fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take(event, now, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    /// Takes over a run that an earlier process of this node has started. The next step decides what follows from all of them.
    pub(crate) fn resume(&mut self, at: usize, resumed: Resumed) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(cell) = self.cells.get_mut(at) else { return actions };
        let Resumed { attempt, id, image_id, since, last, is_started, is_ready } = resumed;
        cell.adopt_count(attempt, true, last);
        cell.image_id = image_id;
        cell.crashes = attempt.min(MAX_LEVEL);
        cell.run_on(at, (id, since), (is_started, is_ready), &mut actions);
        actions
    }

    /// Takes over what the statuses say of a Pod whose sandbox has gone, with the machine or with the spawner. As the kubelet does, a Pod
    /// that is never restarted has ended with its sandbox; in any other what has not ended for good runs again, init containers first.
    pub(crate) fn lose(&mut self, lost: Vec<Option<Lost>>, now: Timestamp) {
        let is_never = self.facts.restart == RestartPolicy::Never && lost.iter().flatten().any(Lost::has_run);
        for (cell, lost) in self.cells.iter_mut().zip(lost) {
            let Some(Lost { attempt, image_id, run, last }) = lost else {
                if is_never {
                    cell.phase = Phase::Ended(unknown_end(now, LOST_UNSTARTED));
                }
                continue;
            };
            cell.image_id = image_id;
            let (ended, has_run) = match run {
                LostRun::Ended(ended) => (Some(ended), true),
                LostRun::Running => (Some(unknown_end(now, LOST_RUNNING)), true),
                LostRun::None => (None, last.is_some()),
            };
            let is_final = ended.as_ref().is_some_and(|ended| !cell.facts.restart.restarts(ended.code));
            if is_never || (is_final && cell.facts.role == Role::Main) {
                cell.adopt_count(attempt, has_run, last);
                cell.phase = Phase::Ended(ended.unwrap_or_else(|| unknown_end(now, LOST_UNSTARTED)));
            } else {
                cell.adopt_count(attempt, has_run, ended.or(last));
            }
        }
        if self.have_mains_ended_but(usize::MAX) {
            for cell in self.cells.iter_mut().filter(|cell| cell.facts.role != Role::Main) {
                if !matches!(cell.phase, Phase::Ended(_)) {
                    cell.phase = Phase::Ended(cell.last.take().unwrap_or_else(|| unknown_end(now, LOST_UNSTARTED)));
                }
            }
        }
    }

    /// When to look again though nothing happens.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let cells = self.cells.iter().filter_map(|cell| match &cell.phase {
            Phase::Waiting { due, .. } => *due,
            _ => None,
        });
        let grounds = [&self.sandbox, &self.volumes].into_iter().filter_map(|ground| match ground {
            Ground::Absent(due) => *due,
            _ => None,
        });
        cells.chain(grounds).min()
    }

    /// Whether all is done that deletion asks for.
    pub(crate) fn is_over(&self) -> bool {
        self.deletion.is_some() && self.sandbox == Ground::Gone
    }

    /// Whether every container has ended for good.
    pub(crate) fn is_finished(&self) -> bool {
        let is_ended = |cell: &Cell| matches!(cell.phase, Phase::Ended(_));
        let mut mains = self.cells.iter().filter(|cell| cell.facts.role == Role::Main);
        let has_failed_init = self.cells.iter().any(Cell::is_failed_init);
        self.cells.iter().all(|cell| !cell.is_alive()) && (has_failed_init || mains.all(is_ended))
    }

    /// Whether every init container has done its part.
    pub(crate) fn is_initialized(&self) -> bool {
        self.cells.iter().filter(|cell| cell.facts.role != Role::Main).all(Cell::is_initialized)
    }

    fn take(&mut self, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::SandboxMade(ip) => {
                self.sandbox = Ground::Ready;
                self.ip = ip;
                self.failures = 0;
            }
            Event::SandboxFailed(why) => {
                self.sandbox = Ground::Absent(Some(self.retry_at(now)));
                let message = format!("Failed to create pod sandbox: {why}");
                actions.push(Action::Tell { at: None, event: PlanEvent::warning("FailedCreatePodSandBox", message) });
            }
            Event::SandboxGone => self.sandbox = Ground::Gone,
            Event::VolumesMade => self.volumes = Ground::Ready,
            Event::VolumesFailed(why) => {
                self.volumes = Ground::Absent(Some(self.retry_at(now)));
                actions.push(Action::Tell { at: None, event: PlanEvent::warning("FailedMount", why) });
            }
            Event::Delete(grace) => self.delete(grace, actions),
            Event::Refused { at, attempt, reason, message, backoff } => {
                if let Some(cell) = self.run(at, attempt) {
                    cell.refuse((reason, message), backoff, now);
                }
            }
            Event::Started { at, attempt, id, image_id, since } => {
                self.started(at, attempt, (id, image_id, since), actions)
            }
            Event::Exited { at, attempt, ended } => self.exited(at, attempt, ended, now, actions),
            Event::Probed { outcome: Err(_), is_periodic: false, .. } => {}
            Event::Probed { at, attempt, kind, outcome, .. } => self.probed((at, attempt), kind, outcome, actions),
        }
    }

    fn retry_at(&mut self, now: Timestamp) -> Timestamp {
        let delay = doubled(RETRY_FIRST, self.failures, RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        now.checked_add(delay).unwrap_or(now)
    }

    /// The container if `attempt` is its present run.
    fn run(&mut self, at: usize, attempt: u32) -> Option<&mut Cell> {
        self.cells.get_mut(at).filter(|cell| cell.attempt == attempt)
    }

    fn delete(&mut self, grace: Duration, actions: &mut Vec<Action>) {
        let is_shorter = self.deletion.is_some_and(|present| grace < present);
        if self.deletion.is_some() && !is_shorter {
            return;
        }
        self.deletion = Some(grace);
        for (at, cell) in self.cells.iter().enumerate() {
            let attempt = cell.attempt;
            if matches!(&cell.phase, Phase::Running(running) if is_shorter && running.is_stopping) {
                actions.push(Action::Stop { at, attempt, grace });
            }
        }
    }

    fn started(&mut self, at: usize, attempt: u32, run: (String, String, Timestamp), actions: &mut Vec<Action>) {
        let Some(cell) = self.run(at, attempt) else { return };
        if !matches!(cell.phase, Phase::Starting { .. }) {
            return;
        }
        let (id, image_id, since) = run;
        cell.image_id = image_id;
        cell.has_run = true;
        cell.failures = 0;
        cell.run_on(at, (id, since), (false, false), actions);
    }

    fn exited(&mut self, at: usize, attempt: u32, ended: Ended, now: Timestamp, actions: &mut Vec<Action>) {
        let is_deleted = self.deletion.is_some();
        let mains_ended = self.have_mains_ended_but(at);
        let [namespace, name, uid] = self.facts.identity.clone();
        let Some(cell) = self.run(at, attempt) else { return };
        let is_sidecar_done = cell.facts.role == Role::Sidecar && mains_ended;
        if !cell.is_alive() {
            return;
        }
        cell.has_run = true;
        if is_deleted || is_sidecar_done || !cell.facts.restart.restarts(ended.code) {
            cell.phase = Phase::Ended(ended);
            return;
        }
        let ran = ended.started_at.map(|since| ended.finished_at.duration_since(since));
        if ran.is_some_and(|ran| ran >= FORGIVEN_AFTER) {
            cell.crashes = 0;
        }
        let crashes = cell.crashes;
        cell.crashes = (crashes + 1).min(MAX_LEVEL);
        cell.last = Some(ended);
        if crashes == 0 {
            cell.phase = Phase::waiting("ContainerCreating");
            return;
        }
        let delay = doubled(BACKOFF_FIRST, crashes - 1, BACKOFF_MAX);
        let container = cell.facts.name.clone();
        let text = format!("restarting failed container={container} pod={name}_{namespace}({uid})");
        cell.phase = Phase::Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: Some(format!("back-off {} {text}", go_duration(delay))),
            due: now.checked_add(delay).ok(),
        };
        let message = format!("Back-off restarting failed container {container} in pod {name}_{namespace}({uid})");
        actions.push(Action::Tell { at: Some(at), event: PlanEvent::warning("BackOff", message) });
    }

    fn have_mains_ended_but(&self, at: usize) -> bool {
        let others =
            self.cells.iter().enumerate().filter(|(other, cell)| *other != at && cell.facts.role == Role::Main);
        others.map(|(_, cell)| cell).all(|cell| matches!(cell.phase, Phase::Ended(_)))
    }

    fn probed(&mut self, run: (usize, u32), kind: ProbeKind, outcome: Result<(), String>, actions: &mut Vec<Action>) {
        let (at, attempt) = run;
        let (is_deleted, pods_grace) = (self.deletion.is_some(), self.facts.grace);
        let Some(cell) = self.run(at, attempt) else { return };
        let Some(threshold) = cell.facts.probe(kind) else { return };
        let Phase::Running(running) = &mut cell.phase else { return };
        if is_deleted || running.is_stopping {
            return;
        }
        let [startup, liveness, readiness] = &mut running.tallies;
        let tally = match kind {
            ProbeKind::Startup => startup,
            ProbeKind::Liveness => liveness,
            ProbeKind::Readiness => readiness,
        };
        *tally = if outcome.is_ok() { (*tally).max(0) + 1 } else { (*tally).min(0) - 1 };
        let has_succeeded = *tally >= i64::from(threshold.successes);
        let has_failed = -*tally >= i64::from(threshold.failures);
        // A program that is not ready yet has not failed; it is told once it should have been.
        let is_starting = kind == ProbeKind::Readiness && !running.is_ready && !has_failed;
        if let Err(why) = &outcome
            && !is_starting
        {
            let message = format!("{} probe failed: {why}", kind.title());
            actions.push(Action::Tell { at: Some(at), event: PlanEvent::warning("Unhealthy", message) });
        }
        match kind {
            ProbeKind::Readiness if has_succeeded => running.is_ready = true,
            ProbeKind::Readiness if has_failed => running.is_ready = false,
            ProbeKind::Startup if has_succeeded && !running.is_started => {
                running.is_started = true;
                running.is_ready = cell.facts.probe(ProbeKind::Readiness).is_none();
                begin_probes(cell, at, actions);
            }
            ProbeKind::Startup | ProbeKind::Liveness if has_failed => {
                running.is_stopping = true;
                running.is_ready = false;
                let text = kind.title().to_lowercase();
                let message = format!("Container {} failed {text} probe, will be restarted", cell.facts.name);
                actions.push(Action::Tell { at: Some(at), event: PlanEvent::normal("Killing", message) });
                actions.push(Action::Stop { at, attempt, grace: threshold.grace.unwrap_or(pods_grace) });
            }
            _ => {}
        }
    }

    fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if let Some(grace) = self.deletion {
            self.stop_all(grace, actions);
            return self.remove_when_still(actions);
        }
        if self.is_finished() {
            return self.remove_when_still(actions);
        }
        if is_due(&self.sandbox, now) {
            self.sandbox = Ground::Making;
            actions.push(Action::MakeSandbox);
        }
        if is_due(&self.volumes, now) {
            self.volumes = Ground::Making;
            actions.push(Action::MakeVolumes);
        }
        if self.sandbox == Ground::Ready && self.volumes == Ground::Ready {
            self.start_containers(now, actions);
        }
    }

    fn start_containers(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let have_mains_ended = self.have_mains_ended_but(usize::MAX);
        let grace = self.facts.grace;
        if self.cells.iter().any(Cell::is_failed_init) || have_mains_ended {
            // What is left are sidecars.
            return self.stop_all(grace, actions);
        }
        for (at, cell) in self.cells.iter_mut().enumerate() {
            cell.start_if_due(at, now, actions);
            if !cell.is_initialized() {
                return;
            }
        }
    }

    fn stop_all(&mut self, grace: Duration, actions: &mut Vec<Action>) {
        for (at, cell) in self.cells.iter_mut().enumerate() {
            let Phase::Running(running) = &mut cell.phase else { continue };
            if !std::mem::replace(&mut running.is_stopping, true) {
                let message = format!("Stopping container {}", cell.facts.name);
                actions.push(Action::Tell { at: Some(at), event: PlanEvent::normal("Killing", message) });
                actions.push(Action::Stop { at, attempt: cell.attempt, grace });
            }
        }
    }

    fn remove_when_still(&mut self, actions: &mut Vec<Action>) {
        if self.cells.iter().any(Cell::is_alive) || self.volumes == Ground::Making {
            return;
        }
        match self.sandbox {
            Ground::Ready => {
                self.sandbox = Ground::Removing;
                actions.push(Action::RemoveSandbox);
            }
            Ground::Absent(_) => self.sandbox = Ground::Gone,
            Ground::Making | Ground::Removing | Ground::Gone => {}
        }
    }
}

/// Begins what a startup probe holds back.
fn begin_probes(cell: &Cell, at: usize, actions: &mut Vec<Action>) {
    let wanted =
        [ProbeKind::Liveness, ProbeKind::Readiness].into_iter().filter(|kind| cell.facts.probe(*kind).is_some());
    actions.extend(wanted.map(|kind| Action::Probe { at, attempt: cell.attempt, kind }));
}

fn is_due(ground: &Ground, now: Timestamp) -> bool {
    matches!(ground, Ground::Absent(due) if due.is_none_or(|due| due <= now))
}

fn doubled(first: SignedDuration, level: u32, max: SignedDuration) -> SignedDuration {
    first.checked_mul(1 << level.min(MAX_LEVEL)).unwrap_or(max).min(max)
}

/// As Go writes a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
fn go_duration(delay: SignedDuration) -> String {
    match (delay.as_secs() / 60, delay.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

impl Phase {
    /// Waiting for its turn.
    pub(crate) fn waiting(reason: &str) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: None, due: None }
    }
}

impl Cell {
    fn new(facts: ContainerFacts, has_inits: bool) -> Self {
        let reason = if has_inits { "PodInitializing" } else { "ContainerCreating" };
        Self {
            facts,
            phase: Phase::waiting(reason),
            attempt: 0,
            last: None,
            image_id: String::new(),
            has_run: false,
            crashes: 0,
            failures: 0,
        }
    }

    /// Takes over how often a container was restarted that does not run any more.
    pub(crate) fn adopt_count(&mut self, attempt: u32, has_run: bool, last: Option<Ended>) {
        self.attempt = attempt;
        self.has_run = has_run;
        self.last = last;
    }

    /// It runs, and its probes begin with the first that is not content for good; `was` says whether it is known to be started, and ready.
    fn run_on(&mut self, at: usize, run: (String, Timestamp), was: (bool, bool), actions: &mut Vec<Action>) {
        let (id, since) = run;
        let is_started = was.0 || self.facts.probe(ProbeKind::Startup).is_none();
        let is_ready = is_started && (was.1 || self.facts.probe(ProbeKind::Readiness).is_none());
        self.phase = Phase::Running(Running { since, id, is_started, is_ready, is_stopping: false, tallies: [0; 3] });
        if is_started {
            begin_probes(self, at, actions);
        } else {
            actions.push(Action::Probe { at, attempt: self.attempt, kind: ProbeKind::Startup });
        }
    }

    /// Whether a process of it may be there.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Starting { .. })
    }

    /// Whether the containers after it may start.
    fn is_initialized(&self) -> bool {
        match (self.facts.role, &self.phase) {
            (Role::Main, _) => true,
            (Role::Init, Phase::Ended(ended)) => ended.code == 0,
            (Role::Sidecar, Phase::Running(running)) => running.is_started,
            (Role::Sidecar, _) => self.has_run,
            (Role::Init, _) => false,
        }
    }

    fn is_failed_init(&self) -> bool {
        self.facts.role == Role::Init
            && self.facts.restart == RestartPolicy::Never
            && matches!(&self.phase, Phase::Ended(ended) if ended.code != 0)
    }

    fn start_if_due(&mut self, at: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let Phase::Waiting { reason, message, due } = &self.phase else { return };
        if due.is_some_and(|due| due > now) {
            return;
        }
        let is_first = self.failures == 0;
        self.attempt += u32::from(std::mem::take(&mut self.has_run));
        let shown = if is_first { ("ContainerCreating".to_owned(), None) } else { (reason.clone(), message.clone()) };
        self.phase = Phase::Starting { reason: shown.0, message: shown.1 };
        actions.push(Action::Start { at, attempt: self.attempt });
    }

    /// The start did not work; the next try waits.
    fn refuse(&mut self, shown: (String, String), backoff: Option<(String, String)>, now: Timestamp) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        let delay = doubled(BACKOFF_FIRST, self.failures, BACKOFF_MAX);
        let is_repeated = self.failures > 0;
        self.failures = (self.failures + 1).min(MAX_LEVEL);
        let (reason, message) = match backoff {
            Some(backoff) if is_repeated => backoff,
            _ => shown,
        };
        self.phase = Phase::Waiting { reason, message: Some(message), due: now.checked_add(delay).ok() };
    }
}

#[cfg(test)]
mod tests;
