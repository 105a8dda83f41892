//! What becomes of a container whose run has begun, answered a probe, or ended.

use base_controller::PlanEvent;
use base_rt::Timestamp;

use super::backoff::{BACKOFF_FIRST, BACKOFF_MAX, FORGIVEN_AFTER, MAX_LEVEL, doubled, go_duration};
use super::cell::begin_probes;
use super::{Action, Ended, Phase, PodState};
use crate::node::facts::{ProbeKind, Role};

/// The reason of an event.
const HOOK_FAILED: &str = "FailedPostStartHook";

impl PodState {
    pub(super) fn started(
        &mut self,
        at: usize,
        attempt: u32,
        run: (String, String, Timestamp),
        actions: &mut Vec<Action>,
    ) {
        let Some(cell) = self.run(at, attempt) else { return };
        if !matches!(cell.phase, Phase::Starting { .. }) {
            return;
        }
        let (id, image_id, since) = run;
        cell.image_id = image_id;
        cell.has_run = true;
        cell.failures = 0;
        match cell.facts.has_hook {
            true => cell.begin_hook(at, (id, since), actions),
            false => cell.run_on(at, (id, since), (false, false), actions),
        }
    }

    /// A container whose hook has failed is asked to end, and restarted as if it had failed by itself.
    pub(super) fn hooked(&mut self, run: (usize, u32), outcome: Result<(), String>, actions: &mut Vec<Action>) {
        let (at, attempt) = run;
        let grace = self.facts.grace;
        let Some(cell) = self.run(at, attempt) else { return };
        let Phase::Running(running) = &mut cell.phase else { return };
        if running.is_stopping || running.hook.is_none() {
            return;
        }
        match outcome {
            Ok(()) => {
                let run = (running.id.clone(), running.since);
                cell.run_on(at, run, (false, false), actions);
            }
            Err(why) => {
                running.is_stopping = true;
                running.hook = Some(("PostStartHookError".to_owned(), Some(why)));
                // Not why: that may be something secret which the hook was told.
                let failed = PlanEvent::warning(HOOK_FAILED, "PostStartHook failed");
                let killing = PlanEvent::normal("Killing", HOOK_FAILED);
                actions.extend([failed, killing].map(|event| Action::Tell { at: Some(at), event }));
                actions.push(Action::Stop { at, attempt, grace });
            }
        }
    }

    pub(super) fn exited(&mut self, at: usize, attempt: u32, ended: Ended, now: Timestamp, actions: &mut Vec<Action>) {
        let is_ending = self.is_ending();
        let mains_ended = self.have_mains_ended_but(at);
        let pod = self.facts.full_name();
        let Some(cell) = self.run(at, attempt) else { return };
        let is_sidecar_done = cell.facts.role == Role::Sidecar && mains_ended;
        if !cell.is_alive() {
            return;
        }
        cell.has_run = true;
        if is_ending || is_sidecar_done || !cell.facts.restart.restarts(ended.code) {
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
        let text = format!("restarting failed container={container} pod={pod}");
        cell.phase = Phase::Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: Some(format!("back-off {} {text}", go_duration(delay))),
            due: now.checked_add(delay).ok(),
        };
        let message = format!("Back-off restarting failed container {container} in pod {pod}");
        actions.push(Action::Tell { at: Some(at), event: PlanEvent::warning("BackOff", message) });
    }

    pub(super) fn probed(
        &mut self,
        run: (usize, u32),
        kind: ProbeKind,
        outcome: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        let (at, attempt) = run;
        let (is_ending, pods_grace) = (self.is_ending(), self.facts.grace);
        let Some(cell) = self.run(at, attempt) else { return };
        let Some(threshold) = cell.facts.probe(kind) else { return };
        let Phase::Running(running) = &mut cell.phase else { return };
        if is_ending || running.is_stopping {
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
}
