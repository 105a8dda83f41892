//! PodAutoscaler: applies what the autoscaler decided (the class KPA), or has the cluster's own decide ([`hpa`]).
//!
//! ```text
//! decision (fact) ──► knative_logic::scale: bounds, steps to zero ──► Deployment's replicas
//!                                                                ├──► ServerlessService: Serve or Proxy, how many activators
//!                                                                ├──► Metric: which windows
//!                                                                └──► status: Active, ScaleTargetInitialized, SKSReady
//! ```
//! Replicas are written through `/scale` and first of all: a request may be waiting. The write names no version, because nobody else
//! decides replicas, and a Deployment's status changes all the time while Pods come. Whether the activator answers on the public Service is
//! a fact, gathered by [`probe`] while the last Pod of a Revision is to go.
//!
//! Who else writes: the Revision makes PodAutoscalers and their spec. Those of a class that is not Knative's are somebody else's.
//! Specified by Knative's `pkg/reconciler/autoscaling`.

mod hpa;
mod observe;
mod plan;
pub mod probe;
mod resources;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::autoscaling::{PodAutoscaler, PodAutoscalerStatus};
use knative_apis::meta::label;

use crate::autoscaler::DecisionFacts;
use crate::caches::{Caches, Informed, labelled_key};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;
use probe::ProbeFacts;
pub use resources::make_metric;

/// Keeps PodAutoscalers true.
pub(crate) struct PodAutoscalerReconciler {
    caches: Caches,
    configs: ConfigStores,
    facts: Facts,
}

/// What the plan of a PodAutoscaler reads beside objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What was decided.
    pub(crate) decisions: DecisionFacts,
    /// Whether the activator answers.
    pub(crate) probes: ProbeFacts,
}

impl Reconciler for PodAutoscalerReconciler {
    type Object = PodAutoscaler;
    type Observed = Observed;
    type Status = PodAutoscalerStatus;

    const WRITES: &'static [Write] = &[
        Write::fields("apps", "Scale", &["spec.replicas"]),
        Write::child("networking.internal.knative.dev", "ServerlessService"),
        Write::child("autoscaling.internal.knative.dev", "Metric"),
        Write::child("autoscaling", "HorizontalPodAutoscaler"),
        Write::status(
            "autoscaling.internal.knative.dev",
            "PodAutoscaler",
            &["conditions", "observedGeneration", "serviceName", "metricsServiceName", "desiredScale", "actualScale"],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, &self.facts, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<PodAutoscaler>> {
        Some(&observed.autoscaler)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<PodAutoscalerStatus> {
        plan(observed, &self.configs.snapshot(), now)
    }

    fn mark_refused(&self, status: &mut PodAutoscalerStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a PodAutoscaler is woken by itself, its children, its Pods and Deployment, and (through the handle) its facts.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
    facts: Facts,
) -> ControllerHandle {
    let reconciler = PodAutoscalerReconciler { caches: caches.clone(), configs: configs.clone(), facts };
    let controller = Controller::new("podautoscaler", reconciler, &informed.pod_autoscalers, context)
        .owns(&informed.serverless_services)
        .owns(&informed.metrics)
        .owns(&informed.horizontals)
        .tracks(&informed.serverless_services)
        .tracks(&informed.metrics)
        .tracks(&informed.horizontals)
        .tracks(&informed.deployments)
        .watches(&informed.pods, |delta| {
            delta.latest().and_then(|pod| labelled_key(&**pod, label::REVISION)).into_iter().collect()
        });
    configs.concern(controller, &[Concern::Autoscaler, Concern::Deployment]).start()
}
