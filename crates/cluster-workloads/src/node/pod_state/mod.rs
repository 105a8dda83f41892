//! The life of a Pod on this node, as a value: `step(event, now)` changes it and says what is to be done.
//!
//! ```text
//!  sandbox + volumes ─► init containers, one after the other ─► containers ─► ended for good ─► sandbox removed
//!       each:  Waiting ─Start─► Starting ─Started─► (postStart hook ─Hooked─►) Running ─Exited─► Ended ─(policy, back-off)─► Waiting
//!  deletion: Stop all ─► all ended ─► RemoveSandbox ─► is_over
//!  eviction: Stop all ─► all ended ─► RemoveSandbox; the Pod stays, as failed
//! ```
//! Nothing here waits or asks: times come in, and [`PodState::next_due`] says when to look again. An event about a run that is not the
//! present one (its attempt differs) changes nothing, so that late and repeated news do no harm. Back-off is the kubelet's: the first
//! restart at once, then 10 s, doubling to 5 min; ten minutes of running forgive.

mod backoff;
mod cell;
mod eviction;
mod lost;
mod runs;

use std::net::IpAddr;
use std::time::Duration;

use base_controller::PlanEvent;
use base_rt::Timestamp;

use super::facts::{PodFacts, ProbeKind, Role};
use backoff::{RETRY_FIRST, RETRY_MAX, doubled};

pub(crate) use backoff::go_duration;
pub(crate) use cell::{Cell, Ended, Phase, Running};
pub(crate) use eviction::Eviction;
pub(crate) use lost::{LOST_ENDED, Lost, LostRun, Resumed, unknown_end};

/// The least time that a sidecar gets to end, as the kubelet has it.
const SIDECAR_GRACE_MIN: Duration = Duration::from_secs(2);

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
    /// Why it is evicted, once it is.
    pub(crate) eviction: Option<Eviction>,
    /// Failed attempts to make sandbox or volumes.
    failures: u32,
    /// Since when its containers are being stopped.
    stopping_since: Option<Timestamp>,
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
    /// The `postStart` hook of a run is done.
    Hooked {
        /// Which container.
        at: usize,
        /// Which run.
        attempt: u32,
        /// Whether it went well, or what is said of it.
        outcome: Result<(), String>,
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
    /// The Pod has to end because of this.
    Evict(String),
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
    /// Do what the `postStart` hook says.
    Hook {
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
            eviction: None,
            failures: 0,
            stopping_since: None,
        }
    }

    /// Takes in what happened and says what is to be done now.
    pub(crate) fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take(event, now, &mut actions);
        self.advance(now, &mut actions);
        actions
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
        cells.chain(grounds).chain(self.deadline()).min()
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
            Event::Evict(why) => self.evict(why, actions),
            Event::Refused { at, attempt, reason, message, backoff } => {
                if let Some(cell) = self.run(at, attempt) {
                    cell.refuse((reason, message), backoff, now);
                }
            }
            Event::Started { at, attempt, id, image_id, since } => {
                self.started(at, attempt, (id, image_id, since), actions)
            }
            Event::Hooked { at, attempt, outcome } => self.hooked((at, attempt), outcome, actions),
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
        let is_shorter = self.ending_grace().is_some_and(|present| grace < present);
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

    fn have_mains_ended_but(&self, at: usize) -> bool {
        let others =
            self.cells.iter().enumerate().filter(|(other, cell)| *other != at && cell.facts.role == Role::Main);
        others.map(|(_, cell)| cell).all(|cell| matches!(cell.phase, Phase::Ended(_)))
    }

    fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.expire(now, actions);
        self.end_unrun(now);
        if let Some(grace) = self.ending_grace() {
            self.stop_all(grace, now, actions);
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
            return self.stop_all(grace, now, actions);
        }
        for (at, cell) in self.cells.iter_mut().enumerate() {
            cell.start_if_due(at, now, actions);
            if !cell.is_initialized() || cell.is_awaited() {
                return;
            }
        }
    }

    /// Stops every container whose turn it is: sidecars end after what they serve, the last one first, in what is left of the time.
    fn stop_all(&mut self, grace: Duration, now: Timestamp, actions: &mut Vec<Action>) {
        let since = *self.stopping_since.get_or_insert(now);
        let left = grace.saturating_sub(now.duration_since(since).try_into().unwrap_or_default());
        let mut is_served = false;
        for (at, cell) in self.cells.iter_mut().enumerate().rev() {
            let is_sidecar = cell.facts.role == Role::Sidecar;
            let must_wait = is_sidecar && is_served;
            is_served |= cell.facts.role != Role::Init && cell.is_alive();
            let Phase::Running(running) = &mut cell.phase else { continue };
            if !must_wait && !std::mem::replace(&mut running.is_stopping, true) {
                let grace = if is_sidecar { left.max(SIDECAR_GRACE_MIN.min(grace)) } else { grace };
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

fn is_due(ground: &Ground, now: Timestamp) -> bool {
    matches!(ground, Ground::Absent(due) if due.is_none_or(|due| due <= now))
}

#[cfg(test)]
mod tests;
