//! What one metric of an autoscaler asks for.

use base_rt::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::measured;
use super::plan::Target;
use super::usage::{self, Question, Tolerance};
use crate::objects::quantity::Milli;

/// How far the use may be from its target, if the autoscaler does not say.
const TOLERANCE: f64 = 0.1;

/// How many replicas a metric asks for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) replicas: i32,
    /// What the metric is called.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric asks for nothing.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// As it stands among others.
    pub(super) error: String,
}

/// Whether it is known which Pods are the target's, and whether they are this autoscaler's alone.
///
/// # Errors
/// Why not: a reason and a message.
pub(super) fn selector(target: &Target, rivals: &[String]) -> Result<(), (&'static str, String)> {
    let selector = target.scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default();
    if selector.is_empty() {
        return Err(("InvalidSelector", "the HPA target's scale is missing a selector".to_owned()));
    }
    if !rivals.is_empty() {
        let rivals = rivals.join(" ");
        let message = format!("pods by selector {selector} are controlled by multiple HPAs: [{rivals}]");
        return Err(("AmbiguousSelector", message));
    }
    Ok(())
}

/// What a metric asks for.
///
/// # Errors
/// Why nothing, in Kubernetes' words.
pub(super) fn propose(
    metric: &MetricSpec,
    autoscaler: &HorizontalPodAutoscaler,
    target: &Target,
    now: Timestamp,
) -> Result<Found, Failure> {
    let replicas = target.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
    let of = |resource: &str, container: Option<&str>, wanted: &MetricTarget| {
        let (wanted, what) = goal(wanted)?;
        let failed = |why: String| format!("failed to get {resource} {what}: {why}");
        let pods = target.pods.as_deref().map_err(|why| failed(why.clone()))?;
        let fetched =
            target.measured.as_ref().map_err(|why| format!("unable to fetch metrics from resource metrics API: {why}"));
        let samples = fetched.and_then(|fetched| measured::samples(fetched, resource, (namespace, container)));
        let samples = samples.map_err(|why| failed(format!("unable to get metrics for resource {resource}: {why}")))?;
        let tolerance = tolerance(autoscaler);
        let question = Question { resource, container, target: wanted, tolerance, pods, samples, replicas, now };
        let proposal = question.answer().map_err(failed)?;
        let current = MetricValueStatus {
            average_utilization: proposal.utilization,
            average_value: Some(Quantity(Milli(proposal.average.into()).exact_text())),
            value: None,
        };
        let of_requests = if proposal.utilization.is_some() { " utilization (percentage of request)" } else { "" };
        Ok((proposal.replicas, current, format!("{resource} resource{of_requests}")))
    };
    let failed = |reason, what: String| {
        move |message: String| Failure {
            reason,
            error: format!("failed to get {what} metric value: {message}"),
            message,
        }
    };
    match (&metric.resource, &metric.container_resource) {
        (Some(source), _) if metric.type_ == "Resource" => {
            let found = of(&source.name, None, &source.target);
            let (replicas, current, name) =
                found.map_err(failed("FailedGetResourceMetric", format!("{} resource", source.name)))?;
            let resource = Some(ResourceMetricStatus { current, name: source.name.clone() });
            Ok(Found {
                replicas,
                name,
                status: MetricStatus { resource, type_: metric.type_.clone(), ..MetricStatus::default() },
            })
        }
        (_, Some(source)) if metric.type_ == "ContainerResource" => {
            let found = of(&source.name, Some(&source.container), &source.target);
            let what = format!("{} container", source.name);
            let (replicas, current, name) = found.map_err(failed("FailedGetContainerResourceMetric", what))?;
            let (container, named) = (source.container.clone(), source.name.clone());
            let container_resource = Some(ContainerResourceMetricStatus { container, current, name: named });
            Ok(Found {
                replicas,
                name,
                status: MetricStatus { container_resource, type_: metric.type_.clone(), ..MetricStatus::default() },
            })
        }
        _ => Err(not_served(&metric.type_)),
    }
}

/// Metrics of other APIs than that of resources.
fn not_served(type_: &str) -> Failure {
    let (reason, api) = match type_ {
        "Object" => ("FailedGetObjectMetric", "custom"),
        "Pods" => ("FailedGetPodsMetric", "custom"),
        "External" => ("FailedGetExternalMetric", "external"),
        _ => {
            let message = format!("unknown metric source type {type_:?}");
            return Failure { reason: "InvalidMetricSourceType", error: message.clone(), message };
        }
    };
    let message = format!("unable to fetch metrics from {api} metrics API: this cluster does not serve it");
    Failure { reason, error: format!("failed to get {} metric value: {message}", type_.to_ascii_lowercase()), message }
}

/// What is meant to be used, and how Kubernetes calls that.
fn goal(target: &MetricTarget) -> Result<(usage::Target, &'static str), String> {
    let value = target.average_value.as_ref().and_then(Milli::parse).and_then(|value| i64::try_from(value.0).ok());
    match (value, target.average_utilization) {
        (Some(value), _) => Ok((usage::Target::AverageValue(value), "usage")),
        (None, Some(share)) => Ok((usage::Target::Utilization(share), "utilization")),
        (None, None) => {
            Err("invalid resource metric source: neither an average utilization target nor an average value \
                             (usage) target was set"
                .to_owned())
        }
    }
}

fn tolerance(autoscaler: &HorizontalPodAutoscaler) -> Tolerance {
    let behavior = autoscaler.spec.behavior.as_ref();
    let of = |rules: Option<&HPAScalingRules>| {
        let stated = rules.and_then(|rules| rules.tolerance.as_ref()).and_then(Milli::parse);
        stated.and_then(|stated| i32::try_from(stated.0).ok()).map_or(TOLERANCE, |milli| f64::from(milli) / 1000.0)
    };
    Tolerance {
        below: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        above: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
    }
}
