//! What an earlier process of this node has left: runs that go on, and sandboxes that have gone.

use base_rt::Timestamp;

use super::backoff::MAX_LEVEL;
use super::{Action, Ended, Phase, PodState};
use crate::node::facts::{RestartPolicy, Role};

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

/// What is said of a container that had ended and of which nothing else is known; as the kubelet says it.
pub(crate) const LOST_ENDED: &str = "The container could not be located when the pod was terminated";

/// The same of one that ran, and of one that had not run.
const LOST_RUNNING: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";
const LOST_UNSTARTED: &str = "The container could not be located when the pod was deleted";

impl Lost {
    fn has_run(&self) -> bool {
        self.run != LostRun::None || self.last.is_some()
    }
}

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

impl PodState {
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
}
