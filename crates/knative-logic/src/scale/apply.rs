//! What is done about a decision: replicas, the steps to zero, who stands in front of the pods.
//!
//! ```text
//! desired 0:  Active ──stable window──► (want 0, nothing applied: the activator goes in front)
//!             Inactive ──activator answers, grace and retention are over──► 0 replicas
//!             Activating ──progress deadline and a buffer──► 0 replicas, the revision failed
//! ```
//!
//! The pieces are functions of the PodAutoscaler, its facts and the time. Each says when it wants
//! to be asked again.

use super::Decision;
use super::bounds::Bounds;
use super::targets::{DeciderSpec, stable_window, target_burst_capacity};
use jiff::{SignedDuration, Timestamp};
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::config::Autoscaler;
use knative_apis::networking::ServerlessServiceMode;

/// The least activators in front of a revision.
pub const MIN_ACTIVATORS: i32 = 2;
/// What is given to a revision beyond its progress deadline before its activation has failed.
const ACTIVATION_TIMEOUT_BUFFER: SignedDuration = SignedDuration::from_secs(30);
/// When to look again after the activator was put in front.
const PROXY_RECHECK: SignedDuration = SignedDuration::from_secs(3);
/// When to look again while the activator does not answer.
const PROBE_PERIOD: SignedDuration = SignedDuration::from_secs(1);

/// What is known beside the PodAutoscaler itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The operator's settings.
    pub config: &'a Autoscaler,
    /// How long a revision may take to become ready, unless it says so itself.
    pub progress_deadline: SignedDuration,
    /// How long the public Service has led to the activator; zero if it does not.
    pub proxy_for: SignedDuration,
    /// Whether the public Service leads, or is to lead, to the activator.
    pub is_proxied: bool,
    /// Whether the activator answered on the public Service when it was last asked; not asked: `false`.
    pub activator_answers: bool,
    /// The replicas that are asked for now.
    pub replicas: i32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalePlan {
    /// The scale to report; -1 if nothing is known.
    pub want: i32,
    /// The replicas to ask for, if they change.
    pub replicas: Option<i32>,
    /// When to look again, if nothing else happens.
    pub again: Option<SignedDuration>,
    /// Whether the activator is to be asked on the public Service.
    pub probe_activator: bool,
}

impl ScalePlan {
    fn nothing(want: i32) -> Self {
        Self { want, replicas: None, again: None, probe_activator: false }
    }

    fn wait(want: i32, again: SignedDuration) -> Self {
        Self { again: Some(again), ..Self::nothing(want) }
    }

    fn set(scale: i32, facts: &Facts<'_>) -> Self {
        Self { replicas: (scale != facts.replicas).then_some(scale), ..Self::nothing(scale) }
    }
}

/// What is to be done about a decider's wish.
pub fn scale(autoscaler: &PodAutoscaler, desired: i32, facts: &Facts<'_>, now: Timestamp) -> ScalePlan {
    if desired < 0 && !autoscaler.status.is_activating() {
        return ScalePlan::nothing(desired);
    }
    let scale = Bounds::of(autoscaler, facts.config).apply(desired);
    if scale == 0 { to_zero(autoscaler, facts, now) } else { ScalePlan::set(scale, facts) }
}

fn to_zero(autoscaler: &PodAutoscaler, facts: &Facts<'_>, now: Timestamp) -> ScalePlan {
    if !facts.config.enable_scale_to_zero {
        return ScalePlan::set(1, facts);
    }
    if let Some(activating) = autoscaler.status.activating_for(now) {
        return give_up_activation(autoscaler, activating, facts);
    }
    if let Some(active) = autoscaler.status.active_for(now) {
        return deactivate(autoscaler, active, facts);
    }
    remove_last_pod(autoscaler, facts, now)
}

fn give_up_activation(autoscaler: &PodAutoscaler, activating: SignedDuration, facts: &Facts<'_>) -> ScalePlan {
    let deadline = autoscaler.annotations().progress_deadline.unwrap_or(facts.progress_deadline);
    let timeout = deadline + ACTIVATION_TIMEOUT_BUFFER;
    if activating > timeout {
        return ScalePlan::set(0, facts);
    }
    // A moment later than the timeout, which must be exceeded.
    ScalePlan::wait(-1, timeout - activating + SignedDuration::from_secs(1))
}

/// The revision was active: it stays so for a stable window, then the activator goes in front.
fn deactivate(autoscaler: &PodAutoscaler, active: SignedDuration, facts: &Facts<'_>) -> ScalePlan {
    let window = stable_window(autoscaler, facts.config);
    if active < window {
        return ScalePlan { again: Some(window - active), ..ScalePlan::set(1, facts) };
    }
    if facts.is_proxied { ScalePlan::wait(0, PROXY_RECHECK) } else { ScalePlan::nothing(0) }
}

/// The activator is in front: the last pod goes when that is certain and the times are over.
fn remove_last_pod(autoscaler: &PodAutoscaler, facts: &Facts<'_>, now: Timestamp) -> ScalePlan {
    let always_proxied = target_burst_capacity(autoscaler, facts.config) < 0.0;
    if !always_proxied && !facts.activator_answers {
        return ScalePlan { probe_activator: true, ..ScalePlan::wait(0, PROBE_PERIOD) };
    }
    let inactive = autoscaler.status.inactive_for(now).unwrap_or(SignedDuration::ZERO);
    let grace = facts.config.scale_to_zero_grace_period;
    let retention = last_pod_retention(autoscaler, facts.config);
    if inactive >= grace.max(retention) {
        return ScalePlan::set(0, facts);
    }
    if inactive < retention {
        return ScalePlan::wait(0, retention - inactive);
    }
    if facts.proxy_for >= grace { ScalePlan::set(0, facts) } else { ScalePlan::wait(0, grace - facts.proxy_for) }
}

/// How long the last pod stays; not at all if no Route leads to the revision.
fn last_pod_retention(autoscaler: &PodAutoscaler, config: &Autoscaler) -> SignedDuration {
    if autoscaler.is_unreachable() {
        return SignedDuration::ZERO;
    }
    let asked = autoscaler.annotations().scale_to_zero_pod_retention;
    asked.unwrap_or(config.scale_to_zero_pod_retention_period)
}

/// Where the public Service leads, which leads to `before` now: to the pods if there are to be any and they have room for a burst. Before
/// anything is known of a revision that is not at zero (after a restart of the autoscaler) that stays as it is.
pub fn serverless_service_mode(
    autoscaler: &PodAutoscaler,
    want: i32,
    decision: &Decision,
    before: &ServerlessServiceMode,
) -> ServerlessServiceMode {
    if want < 0 && decision.desired < 0 && !autoscaler.status.is_inactive() {
        before.clone()
    } else if want > 0 && decision.excess_burst_capacity >= 0 {
        ServerlessServiceMode::Serve
    } else {
        ServerlessServiceMode::Proxy
    }
}

/// How many activators stand in front: enough for all that the pods take and a burst.
pub fn activators(ready: i32, spec: &DeciderSpec) -> i32 {
    if spec.target_burst_capacity == 0.0 {
        return MIN_ACTIVATORS;
    }
    let to_cover = f64::from(ready) * spec.total_value + spec.target_burst_capacity.max(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
    let needed = (to_cover / spec.activator_capacity).ceil() as i32;
    needed.max(MIN_ACTIVATORS)
}

#[cfg(test)]
mod tests;
