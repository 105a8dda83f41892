//! Kwick's autoscaler on a trace: the functions that production calls, with the time of the trace.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use knative_apis::annotations::Aggregation;
use knative_apis::autoscaling::{Metric, PodAutoscaler};
use knative_apis::config::{Autoscaler, ConfigMap as _};
use knative_apis::stat::Stat;
use knative_logic::names;
use knative_logic::scale::{DeciderSpec, Decision, ScalingMetric};
use knative_serving::autoscaler::{Decider, DecisionFact};
use knative_serving::pod_autoscaler::make_metric;
use serde_json::json;

use crate::trace::{Act, Report, Settings, Spec, Step, Trace};

/// The settings, read.
pub(crate) struct Applied {
    pub(crate) config: Autoscaler,
    pub(crate) autoscaler: PodAutoscaler,
    metric: Metric,
    /// What decisions follow from them.
    pub(crate) decider: DeciderSpec,
}

impl Applied {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let config = Autoscaler::parse(&settings.config).context("settings that Kwick refuses")?;
        let autoscaler: PodAutoscaler = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": "revision", "annotations": settings.annotations},
            "spec": {"containerConcurrency": settings.container_concurrency, "reachability": settings.reachability},
        }))?;
        let metric = make_metric(&autoscaler, &names::private_service("revision"), &config);
        let decider = DeciderSpec::new(&autoscaler, &config);
        Ok(Self { config, autoscaler, metric, decider })
    }

    /// How samples are averaged.
    pub(crate) fn aggregation(&self) -> Aggregation {
        self.metric.aggregation()
    }

    /// All that follows from them.
    pub(crate) fn spec(&self) -> Spec {
        let (min_scale, max_scale) = self.autoscaler.scale_bounds(&self.config);
        let decider = self.decider.clone();
        Spec {
            metric: match decider.scaling_metric {
                ScalingMetric::Concurrency => "concurrency".to_owned(),
                ScalingMetric::Rps => "rps".to_owned(),
            },
            target: decider.target_value,
            total: decider.total_value,
            target_burst_capacity: decider.target_burst_capacity,
            activator_capacity: decider.activator_capacity,
            panic_threshold: decider.panic_threshold,
            max_scale_up_rate: decider.max_scale_up_rate,
            max_scale_down_rate: decider.max_scale_down_rate,
            stable_window: self.metric.spec.stable_window_ns,
            panic_window: self.metric.spec.panic_window_ns,
            scale_down_delay: i64::try_from(decider.scale_down_delay.as_nanos()).unwrap_or(i64::MAX),
            initial_scale: decider.initial_scale,
            activation_scale: decider.activation_scale,
            reachable: decider.reachable,
            min_scale,
            max_scale,
        }
    }
}

/// A revision in Kwick's autoscaler.
pub(crate) struct Revision {
    pub(crate) applied: Applied,
    pub(crate) ready: i32,
    decider: Decider,
}

impl Revision {
    /// The revision at the beginning of a trace.
    pub(crate) fn begin(trace: &Trace) -> Result<Self> {
        let applied = Applied::new(&trace.settings)?;
        let objects = (&applied.autoscaler, &applied.metric);
        let decider = Decider::new(objects, &applied.config, trace.ready, time(trace.begin));
        Ok(Self { decider, applied, ready: trace.ready })
    }

    /// What is assumed before anything is measured.
    pub(crate) fn unknown(&self) -> Decision {
        Decision::unknown(&self.applied.decider)
    }

    /// What is decided in a step, if it is one in which that is asked, and anything is known.
    pub(crate) fn step(&mut self, step: &Step) -> Result<Option<DecisionFact>> {
        let now = time(step.at);
        match &step.act {
            Act::Stat(report) => {
                let _ = self.decider.record(&stat(report), time(step.at - report.late));
            }
            Act::Silence {} => self.decider.record_silence(now),
            Act::Ready(ready) => self.ready = *ready,
            Act::Update(settings) => {
                self.applied = Applied::new(settings)?;
                self.decider.update((&self.applied.autoscaler, &self.applied.metric), &self.applied.config, now);
            }
            Act::Tick {} => return Ok(self.decider.decide(self.ready, now)),
        }
        Ok(None)
    }
}

/// A time of the trace. It begins at a full minute.
pub(crate) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(20_000_000) + SignedDuration::from_millis(milliseconds)
}

fn stat(report: &Report) -> Stat {
    Stat {
        average_concurrent_requests: report.concurrency,
        average_proxied_concurrent_requests: report.proxied_concurrency,
        request_count: report.requests,
        proxied_request_count: report.proxied_requests,
        ..Stat::default()
    }
}
