//! Decides how many replicas a HorizontalPodAutoscaler's target is to have, and what its status says of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Change, Condition, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ApiResource;
use serde_json::json;

use super::measured::Measured;
use super::steps::{Memory, min_replicas};
use super::{metric, status};

/// What stands in the way of the target's size.
pub(super) const ABLE_TO_SCALE: &str = "AbleToScale";
const SCALING_ACTIVE: &str = "ScalingActive";
const SCALING_LIMITED: &str = "ScalingLimited";

/// The facts about one autoscaler.
#[derive(Debug)]
pub(super) struct Observed {
    /// The autoscaler itself.
    pub(super) autoscaler: Arc<HorizontalPodAutoscaler>,
    /// Its target's size, or why that is not known.
    pub(super) target: Result<Target, String>,
    /// Others for the same target.
    pub(super) rivals: Vec<String>,
}

/// What is scaled.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) resource: ApiResource,
    pub(super) scale: Scale,
    /// The Pods that its selector takes, and what they use; or why that is not known.
    pub(super) pods: Result<Vec<Arc<Pod>>, String>,
    pub(super) measured: Result<BTreeMap<String, Measured>, String>,
}

/// A plan, and between which sizes it scales if it does.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Plan<HorizontalPodAutoscalerStatus>,
    pub(super) rescale: Option<(i32, i32)>,
}

/// The next step.
pub(super) fn plan(observed: &Observed, memory: &mut Memory, now: Timestamp) -> Planned {
    let mut step = Step { observed, status: status::before(&observed.autoscaler), events: Vec::new(), now };
    let target = match &observed.target {
        Ok(target) => target,
        Err(why) => {
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            step.say(ABLE_TO_SCALE, false, ("FailedGetScale", &message));
            step.events.push(PlanEvent::warning("FailedGetScale", why.as_str()));
            return step.end(Vec::new(), None);
        }
    };
    let got = "the HPA controller was able to get the target's current scale";
    step.say(ABLE_TO_SCALE, true, ("SucceededGetScale", got));
    let current = target.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    memory.begin(current, now);
    step.status.current_replicas = Some(current);
    step.status.current_metrics = None;
    let Some((desired, why)) = step.desired(target, current, memory) else { return step.end(Vec::new(), None) };
    step.status.desired_replicas = desired;
    if desired == current {
        return step.end(Vec::new(), None);
    }
    let scaled = format!("the HPA controller was able to update the target scale to {desired}");
    step.say(ABLE_TO_SCALE, true, ("SucceededRescale", &scaled));
    step.status.last_scale_time = Some(Time(now));
    step.end(vec![rescale(target, desired, &why)], Some((current, desired)))
}

/// Gives the target another size.
fn rescale(target: &Target, desired: i32, why: &str) -> Change {
    let size = format!("New size: {desired}; reason: {why}");
    Change::overlay_of(target.resource.clone(), &target.scale, json!({"spec": {"replicas": desired}}))
        .to_subresource("scale")
        .or_condition(Condition {
            type_: ABLE_TO_SCALE.to_owned(),
            status: "False".to_owned(),
            reason: "FailedUpdateScale".to_owned(),
            message: "the HPA controller was unable to update the target scale: {error}".to_owned(),
        })
        .or_event(PlanEvent::warning("FailedRescale", format!("{size}; error: {{error}}")))
        .with_event(PlanEvent::normal("SuccessfulRescale", size))
}

struct Step<'a> {
    observed: &'a Observed,
    status: HorizontalPodAutoscalerStatus,
    events: Vec<PlanEvent>,
    now: Timestamp,
}

impl Step<'_> {
    /// How many replicas there are to be, and why. None if that cannot be said.
    fn desired(&mut self, target: &Target, current: i32, memory: &mut Memory) -> Option<(i32, String)> {
        let spec = &self.observed.autoscaler.spec;
        let min = min_replicas(spec);
        if current == 0 && min != 0 {
            let disabled = "scaling is disabled since the replica count of the target is zero";
            self.say(SCALING_ACTIVE, false, ("ScalingDisabled", disabled));
            return Some((0, String::new()));
        }
        if current > spec.max_replicas {
            return Some((spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned()));
        }
        if current < min {
            return Some((min, "Current number of replicas below Spec.MinReplicas".to_owned()));
        }
        let (recommended, name) = self.recommended(target, current)?;
        let why =
            if recommended > current { format!("{name} above target") } else { "All metrics below target".to_owned() };
        let step = memory.step(spec, (current, recommended), self.now);
        self.say(ABLE_TO_SCALE, true, step.able);
        self.say(SCALING_LIMITED, step.is_limited, step.limit);
        Some((step.replicas, why))
    }

    /// The largest number that a metric asks for, and which. If one cannot be told, fewer replicas are not believed.
    fn recommended(&mut self, target: &Target, current: i32) -> Option<(i32, String)> {
        let autoscaler = &self.observed.autoscaler;
        if let Err((reason, message)) = metric::selector(target, &self.observed.rivals) {
            self.events.push(PlanEvent::warning(reason, message.as_str()));
            self.say(SCALING_ACTIVE, false, (reason, &message));
            self.failed(&message);
            return None;
        }
        let metrics = autoscaler.spec.metrics.as_deref().unwrap_or_default();
        let (mut best, mut first, mut failures): (Option<(i32, String)>, Option<metric::Failure>, usize) =
            (None, None, 0);
        let mut statuses: Vec<MetricStatus> = Vec::new();
        for of in metrics {
            match metric::propose(of, autoscaler, target, self.now) {
                Ok(found) => {
                    statuses.push(found.status);
                    if best.as_ref().is_none_or(|(replicas, _)| found.replicas > *replicas) {
                        best = Some((found.replicas, found.name));
                    }
                }
                Err(failure) => {
                    self.events.push(PlanEvent::warning(failure.reason, failure.message.as_str()));
                    failures += 1;
                    first.get_or_insert(failure);
                }
            }
        }
        self.status.current_metrics = Some(statuses);
        if let Some(failure) = first {
            let all = metrics.len();
            let invalid =
                format!("invalid metrics ({failures} invalid out of {all}), first error is: {}", failure.error);
            if best.as_ref().is_none_or(|(replicas, _)| *replicas < current) {
                let message = format!("the HPA was unable to compute the replica count: {}", failure.message);
                self.say(SCALING_ACTIVE, false, (failure.reason, &message));
                self.failed(&invalid);
                return None;
            }
        }
        let (replicas, name) = best?;
        let found = format!("the HPA was able to successfully calculate a replica count from {name}");
        self.say(SCALING_ACTIVE, true, ("ValidMetricFound", &found));
        Some((replicas, name))
    }

    fn failed(&mut self, why: &str) {
        self.events.push(PlanEvent::warning("FailedComputeMetricsReplicas", why));
    }

    fn say(&mut self, type_: &str, is_so: bool, why: (&str, &str)) {
        status::set(&mut self.status, (type_, if is_so { "True" } else { "False" }), why, self.now);
    }

    fn end(self, changes: Vec<Change>, rescale: Option<(i32, i32)>) -> Planned {
        Planned { plan: Plan { changes, events: self.events, ..Plan::new(self.status) }, rescale }
    }
}

#[cfg(test)]
mod tests;
