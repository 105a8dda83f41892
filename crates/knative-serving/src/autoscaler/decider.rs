//! One Revision's windows and memory, and when it is worth deciding. A plain value.
//!
//! What it decides while nothing is known, and why not as Knative does, says ADR 12.

use jiff::Timestamp;
use knative_apis::autoscaling::{Metric, PodAutoscaler};
use knative_apis::config::Autoscaler;
use knative_apis::stat::Stat;
use knative_logic::scale::{Averages, DeciderSpec, DeciderState, Decision, Observation, Windows, decide};

use super::facts::DecisionFact;

/// The decider of one Revision.
#[derive(Debug)]
pub struct Decider {
    spec: DeciderSpec,
    windows: Windows,
    state: DeciderState,
    decision: Decision,
    /// Since when it has been watched.
    born: Timestamp,
    /// Whether there were Pods before: then its load is unknown for one stable window.
    had_pods: bool,
}

impl Decider {
    /// The decider of a Revision that has so many ready Pods and is seen for the first time.
    pub fn new(
        (autoscaler, metric): (&PodAutoscaler, &Metric),
        config: &Autoscaler,
        ready: i32,
        now: Timestamp,
    ) -> Self {
        let spec = DeciderSpec::new(autoscaler, config);
        Self {
            windows: Windows::new(metric),
            state: DeciderState::new(&spec, ready, now),
            decision: Decision::unknown(&spec),
            born: now,
            had_pods: ready > 0,
            spec,
        }
    }

    /// Its PodAutoscaler or the operator's settings changed.
    pub fn update(&mut self, (autoscaler, metric): (&PodAutoscaler, &Metric), config: &Autoscaler, now: Timestamp) {
        self.spec = DeciderSpec::new(autoscaler, config);
        self.windows.update(metric, now);
    }

    /// Adds a measurement. Whether it should be looked at before the next tick: somebody waits at zero, or the load of the last seconds is
    /// more than the Pods decided on should have.
    pub fn record(&mut self, stat: &Stat, now: Timestamp) -> bool {
        self.windows.record(now, stat);
        let load = self.averages(now).map_or(0.0, |averages| averages.panic);
        load > 0.0 && (self.decision.desired <= 0 || load > f64::from(self.decision.desired) * self.spec.target_value)
    }

    /// Notes that ready Pods had nothing to report in this second.
    pub fn record_silence(&mut self, now: Timestamp) {
        self.windows.record(now, &Stat::default());
    }

    /// Decides, if anything is known.
    pub fn decide(&mut self, ready: i32, now: Timestamp) -> Option<DecisionFact> {
        let averages = self.averages(now)?;
        let state = std::mem::replace(&mut self.state, DeciderState::new(&self.spec, 0, now));
        let (state, mut decision) = decide(&self.spec, state, &Observation { ready, averages }, now);
        let is_held = self.is_unwatched(now) && decision.desired < ready;
        if is_held {
            decision.desired = ready;
        }
        self.decision = decision;
        let is_panicking = state.panic.is_panicking();
        self.state = state;
        Some(DecisionFact {
            decision,
            at: now,
            stable: averages.stable,
            panic: averages.panic,
            target: self.spec.target_value,
            ready,
            is_panicking,
            is_held,
        })
    }

    /// Whether nothing can follow from looking at it again, as long as nothing happens to it.
    pub fn is_idle(&self, ready: i32, now: Timestamp) -> bool {
        let is_silent = self.averages(now).is_none_or(|averages| averages.stable <= 0.0 && averages.panic <= 0.0);
        let has_nothing_to_decide =
            self.decision.desired == 0 || (self.decision.desired < 0 && self.averages(now).is_none());
        ready == 0 && is_silent && has_nothing_to_decide
    }

    /// What was measured; none if nothing is known. Whoever has been watched for a whole window without a report has no traffic.
    fn averages(&self, now: Timestamp) -> Option<Averages> {
        let measured = self.windows.averages(self.spec.scaling_metric, now);
        let is_known_silent = self.decision.desired > 0 && self.is_watched(now);
        measured.or_else(|| is_known_silent.then(Averages::default))
    }

    fn is_watched(&self, now: Timestamp) -> bool {
        now.duration_since(self.born) >= self.spec.stable_window
    }

    /// Whether there were Pods before the windows, and the windows do not reach back to them yet.
    fn is_unwatched(&self, now: Timestamp) -> bool {
        self.had_pods && !self.is_watched(now)
    }
}
