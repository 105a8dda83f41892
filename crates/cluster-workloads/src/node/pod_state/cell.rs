//! A container of a Pod, and its runs.

use base_rt::Timestamp;

use super::Action;
use super::backoff::{BACKOFF_FIRST, BACKOFF_MAX, MAX_LEVEL, doubled};
use crate::node::facts::{ContainerFacts, ProbeKind, RestartPolicy, Role};

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
    /// While its `postStart` hook is not done: what is shown instead, a reason and more about it.
    pub(crate) hook: Option<(String, Option<String>)>,
    /// Outcomes in a row, by probe: successes above, failures below zero.
    pub(super) tallies: [i64; 3],
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
    pub(super) has_run: bool,
    /// Crashes in a row.
    pub(super) crashes: u32,
    /// Failed starts in a row.
    pub(super) failures: u32,
}

impl Phase {
    /// Waiting for its turn.
    pub(crate) fn waiting(reason: &str) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: None, due: None }
    }
}

impl Cell {
    pub(super) fn new(facts: ContainerFacts, has_inits: bool) -> Self {
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
    pub(super) fn run_on(&mut self, at: usize, run: (String, Timestamp), was: (bool, bool), actions: &mut Vec<Action>) {
        let (id, since) = run;
        let is_started = was.0 || self.facts.probe(ProbeKind::Startup).is_none();
        let is_ready = is_started && (was.1 || self.facts.probe(ProbeKind::Readiness).is_none());
        let running = Running { since, id, is_started, is_ready, is_stopping: false, hook: None, tallies: [0; 3] };
        self.phase = Phase::Running(running);
        if is_started {
            begin_probes(self, at, actions);
        } else {
            actions.push(Action::Probe { at, attempt: self.attempt, kind: ProbeKind::Startup });
        }
    }

    /// Its process runs, and its `postStart` hook begins; until that is done, it is shown as it was.
    pub(super) fn begin_hook(&mut self, at: usize, run: (String, Timestamp), actions: &mut Vec<Action>) {
        let Phase::Starting { reason, message } = &self.phase else { return };
        let hook = Some((reason.clone(), message.clone()));
        let (id, since) = run;
        let (is_started, is_ready) = (false, false);
        self.phase =
            Phase::Running(Running { since, id, is_started, is_ready, is_stopping: false, hook, tallies: [0; 3] });
        actions.push(Action::Hook { at, attempt: self.attempt });
    }

    /// Whether the containers after it wait for its `postStart` hook.
    pub(super) fn is_awaited(&self) -> bool {
        match &self.phase {
            Phase::Starting { .. } => self.facts.has_hook,
            Phase::Running(running) => running.hook.is_some(),
            _ => false,
        }
    }

    /// Whether a process of it may be there.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Starting { .. })
    }

    /// Whether the containers after it may start.
    pub(super) fn is_initialized(&self) -> bool {
        match (self.facts.role, &self.phase) {
            (Role::Main, _) => true,
            (Role::Init, Phase::Ended(ended)) => ended.code == 0,
            (Role::Sidecar, Phase::Running(running)) => running.is_started,
            (Role::Sidecar, _) => self.has_run,
            (Role::Init, _) => false,
        }
    }

    pub(super) fn is_failed_init(&self) -> bool {
        self.facts.role == Role::Init
            && self.facts.restart == RestartPolicy::Never
            && matches!(&self.phase, Phase::Ended(ended) if ended.code != 0)
    }

    pub(super) fn start_if_due(&mut self, at: usize, now: Timestamp, actions: &mut Vec<Action>) {
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
    pub(super) fn refuse(&mut self, shown: (String, String), backoff: Option<(String, String)>, now: Timestamp) {
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

/// Begins what a startup probe holds back.
pub(super) fn begin_probes(cell: &Cell, at: usize, actions: &mut Vec<Action>) {
    let wanted =
        [ProbeKind::Liveness, ProbeKind::Readiness].into_iter().filter(|kind| cell.facts.probe(*kind).is_some());
    actions.extend(wanted.map(|kind| Action::Probe { at, attempt: cell.attempt, kind }));
}
