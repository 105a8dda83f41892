//! The decision: how many pods, and how much room for a burst.

use super::delay::DelayWindow;
use super::{Averages, DeciderSpec, Panic};
use jiff::Timestamp;

/// What is seen of a revision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Pods that are ready.
    pub ready: i32,
    /// What was measured.
    pub averages: Averages,
}

/// What a decider remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct DeciderState {
    /// Whether a surge lasts.
    pub panic: Panic,
    /// A decider keeps the delay that it began with, in Knative too.
    delay: Option<DelayWindow>,
}

impl DeciderState {
    /// The memory of a new decider of a revision with so many ready pods.
    pub fn new(spec: &DeciderSpec, ready: i32, now: Timestamp) -> Self {
        Self { panic: Panic::begin(ready, now), delay: DelayWindow::new(spec.scale_down_delay) }
    }
}

/// What a revision needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many pods; -1 before anything is known.
    pub desired: i32,
    /// How many more requests the pods could take than they have and a burst would bring. Below
    /// zero the activator must stay in front of them.
    pub excess_burst_capacity: i32,
}

impl Decision {
    /// What is assumed before anything was measured.
    pub fn unknown(spec: &DeciderSpec) -> Self {
        let burst = spec.target_burst_capacity;
        let excess_burst_capacity = if is_mark(burst) {
            to_count(burst)
        } else {
            to_count(f64::from(spec.initial_scale) * spec.total_value - burst)
        };
        Self { desired: -1, excess_burst_capacity }
    }

    /// Whether somebody must act on the change from `previous`: another number of pods, or the
    /// activator enters or leaves the path.
    pub fn differs(&self, previous: &Self) -> bool {
        let is_short = |decision: &Self| decision.excess_burst_capacity < 0;
        self.desired != previous.desired || is_short(self) != is_short(previous)
    }
}

/// Decides how many pods a revision needs.
///
/// The number follows the averages divided by the target, at most a factor up or down from the
/// pods that are ready. A load of several times the capacity is panic: then the short window
/// counts too and pods are only added.
pub fn decide(
    spec: &DeciderSpec,
    mut state: DeciderState,
    seen: &Observation,
    now: Timestamp,
) -> (DeciderState, Decision) {
    let ready = f64::from(seen.ready.max(1));
    let stable = (seen.averages.stable / spec.target_value).ceil();
    let panic = (seen.averages.panic / spec.target_value).ceil();
    let most = (spec.max_scale_up_rate * ready).ceil();
    let least = if spec.reachable { (ready / spec.max_scale_down_rate).floor() } else { 0.0 };
    let within = |pods: f64| {
        let count = to_count(pods.max(least).min(most));
        if pods > 0.0 && spec.activation_scale > 1 { count.max(spec.activation_scale) } else { count }
    };

    let is_over = panic / ready >= spec.panic_threshold;
    state.panic = state.panic.next(is_over, spec.stable_window, now);
    let wanted = if state.panic.is_panicking() { within(stable).max(within(panic)) } else { within(stable) };
    let wanted = state.panic.hold(wanted);
    let desired = state.delayed(spec, wanted, now);
    (state, Decision { desired, excess_burst_capacity: excess_burst_capacity(spec, seen) })
}

impl DeciderState {
    fn delayed(&mut self, spec: &DeciderSpec, wanted: i32, now: Timestamp) -> i32 {
        match &mut self.delay {
            Some(window) if spec.reachable => window.record(now, wanted),
            _ => wanted,
        }
    }
}

fn excess_burst_capacity(spec: &DeciderSpec, seen: &Observation) -> i32 {
    let burst = spec.target_burst_capacity;
    if is_mark(burst) {
        return to_count(burst);
    }
    to_count((f64::from(seen.ready) * spec.total_value - burst - seen.averages.panic).floor())
}

/// -1 (the activator stays) and 0 (it goes at once) are marks, not amounts.
fn is_mark(burst: f64) -> bool {
    burst <= 0.0
}

/// A count; what does not fit is the largest that does.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn to_count(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests;
