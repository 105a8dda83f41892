//! Metric: says whether a Revision is being measured.
//!
//! Where statistics are pushed (queue-proxies and activator in this process, or whoever scrapes for them), the autoscaler measures a
//! Revision as soon as its PodAutoscaler is there, so a Metric is ready at once. The windows themselves follow the PodAutoscaler.
//!
//! Who else writes: the PodAutoscaler makes Metrics and their spec. Specified by Knative's `pkg/reconciler/metric`.

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::autoscaling::{Metric, MetricStatus};

use crate::caches::{Caches, Informed};
use crate::status::{begin, end};

/// Keeps the status of Metrics true.
pub(crate) struct MetricReconciler {
    caches: Caches,
}

impl Reconciler for MetricReconciler {
    type Object = Metric;
    type Observed = Arc<Metric>;
    type Status = MetricStatus;

    const WRITES: &'static [Write] =
        &[Write::status("autoscaling.internal.knative.dev", "Metric", &["conditions", "observedGeneration"])];

    fn gather(&self, key: &Key) -> Option<Arc<Metric>> {
        self.caches.metrics.get(key).filter(|metric| metric.metadata.deletion_timestamp.is_none())
    }

    fn object<'a>(&self, observed: &'a Arc<Metric>) -> Option<&'a Arc<Metric>> {
        Some(observed)
    }

    fn plan(&self, observed: &Arc<Metric>, now: Timestamp) -> Plan<MetricStatus> {
        let mut plan = Plan::new(begin(&**observed, now));
        plan.status.mark_ready(now);
        end(&**observed, &mut plan.status);
        plan
    }
}

/// Starts the controller: a Metric is woken by itself.
pub(crate) fn wire(context: &Context, informed: &Informed, caches: &Caches) -> ControllerHandle {
    Controller::new("metric", MetricReconciler { caches: caches.clone() }, &informed.metrics, context).start()
}
