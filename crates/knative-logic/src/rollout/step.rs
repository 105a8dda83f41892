//! One Configuration's step.

use super::{ConfigurationRollout, NANOS, RevisionRollout, StepParams, nanos};
use jiff::Timestamp;

/// What is served now, from what is to be served in the end and what was served before.
pub(super) fn step(
    mut goal: ConfigurationRollout,
    mut held: ConfigurationRollout,
    now_ns: i64,
) -> ConfigurationRollout {
    let latest = held.revisions.last().map(|revision| revision.revision_name.clone());
    let goal_revision = goal.revisions.first().map(|revision| revision.revision_name.clone());
    held.adjust(goal.percent);
    if latest.is_none() || latest == goal_revision {
        if held.revisions.len() > 1 {
            goal.revisions = held.revisions;
            goal.step_params = held.step_params;
            goal.advance(now_ns);
        }
        return goal;
    }
    held.begin(&mut goal, now_ns);
    goal
}

impl ConfigurationRollout {
    /// The share has changed: the newest revision gains, the oldest lose.
    fn adjust(&mut self, percent: i64) {
        let gain = percent - self.percent;
        if gain > 0
            && let Some(newest) = self.revisions.last_mut()
        {
            newest.percent += gain;
        }
        let mut loss = (-gain).max(0);
        for revision in &mut self.revisions {
            let taken = loss.min(revision.percent);
            revision.percent -= taken;
            loss -= taken;
        }
        if gain < 0 {
            let first_left = self.revisions.iter().position(|revision| revision.percent > 0);
            self.revisions.drain(..first_left.unwrap_or(self.revisions.len()));
        }
    }

    /// A new revision has appeared: it gets one percent of the newest that has any.
    fn begin(mut self, goal: &mut Self, now_ns: i64) {
        goal.step_params = StepParams { start_time_ns: now_ns, ..StepParams::default() };
        if let Some(giver) = self.revisions.iter_mut().rev().find(|revision| revision.percent > 0) {
            giver.percent -= 1;
        }
        let mut revisions: Vec<RevisionRollout> = self.revisions;
        revisions.retain(|revision| revision.percent != 0);
        let newest = goal.revisions.first().map(|revision| revision.revision_name.clone()).unwrap_or_default();
        revisions.push(RevisionRollout { revision_name: newest, percent: 1 });
        goal.revisions = revisions;
    }

    /// Moves a step to the newest revision, if it is due.
    fn advance(&mut self, now_ns: i64) {
        let size = self.step_params.step_size;
        if size <= 0 || now_ns < self.step_params.next_step_time_ns {
            return;
        }
        let Some(mut newest) = self.revisions.pop() else { return };
        let mut left = size;
        while let Some(giver) = self.revisions.last_mut() {
            if giver.percent > left {
                giver.percent -= left;
                break;
            }
            left -= giver.percent;
            self.revisions.pop();
            if left == 0 {
                break;
            }
        }
        newest.percent = (newest.percent + size).min(self.percent);
        self.revisions.push(newest);
        if self.is_done() {
            self.step_params = StepParams::default();
        } else {
            self.step_params.next_step_time_ns = now_ns.saturating_add(self.step_params.step_duration_ns);
        }
    }

    /// Divides what is left into equal steps: none shorter than the network needs, none smaller
    /// than a percent.
    pub(super) fn set_steps(&mut self, duration_secs: f64, now: Timestamp) {
        let now_ns = nanos(now);
        let shortest = as_float(now_ns.saturating_sub(self.step_params.start_time_ns)) / NANOS;
        let shortest = shortest.ceil().max(1.0);
        let left = (duration_secs - shortest).max(1.0);
        let percent = as_float((self.percent - 1).max(1));
        let steps = (left / shortest).max(1.0).min(percent);
        let step_secs = left / steps;
        self.step_params.step_duration_ns = to_int(step_secs * NANOS);
        self.step_params.step_size = to_int((percent / steps).round());
        self.step_params.next_step_time_ns = to_int(as_float(now_ns) + step_secs * NANOS);
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of this century lose less than a microsecond")]
fn as_float(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn to_int(number: f64) -> i64 {
    number as i64
}
