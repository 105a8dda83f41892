//! Revision: one version of a workload, as a Deployment, a PodAutoscaler and Images.
//!
//! ```text
//! digests known? ──no──► ResourcesAvailable Unknown (ResolvingDigests), wait for the fact
//!      │ yes
//!      ▼
//! Deployment (with the initial scale; later the autoscaler has it) · Image per container · PodAutoscaler
//!      ▼
//! ResourcesAvailable, ContainerHealthy from the Deployment's and the first Pod's state, Active from the PodAutoscaler
//! ```
//! Where the operator wants TLS inside (`system-internal-tls`), the sidecar mounts the certificate of its namespace; without that Secret nothing is
//! deployed.
//!
//! The Deployment is written again only when what it should be has changed (its hash label), the PodAutoscaler whenever it differs.
//!
//! Who else writes: the Configuration makes Revisions, the labeler writes their routing state, the autoscaler the Deployment's replicas.
//! Specified by Knative's `pkg/reconciler/revision`.

mod observe;
mod plan;
pub(crate) mod resources;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::meta::label;
use knative_apis::serving::v1::{Revision, RevisionStatus};

use crate::caches::{Caches, Informed, labelled_key};
use crate::config::{Concern, ConfigStores};
use crate::digest::DigestFacts;
use observe::{Observed, gather};
use plan::plan;

/// Keeps Revisions true.
pub(crate) struct RevisionReconciler {
    caches: Caches,
    configs: ConfigStores,
    digests: DigestFacts,
}

impl Reconciler for RevisionReconciler {
    type Object = Revision;
    type Observed = Observed;
    type Status = RevisionStatus;

    const WRITES: &'static [Write] = &[
        Write::child("apps", "Deployment"),
        Write::child("autoscaling.internal.knative.dev", "PodAutoscaler"),
        Write::child("caching.internal.knative.dev", "Image"),
        Write::status(
            "serving.knative.dev",
            "Revision",
            &[
                "conditions",
                "observedGeneration",
                "logUrl",
                "containerStatuses",
                "initContainerStatuses",
                "actualReplicas",
                "desiredReplicas",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, &self.digests, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Revision>> {
        Some(&observed.revision)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<RevisionStatus> {
        plan(observed, &self.configs.snapshot(), now)
    }

    fn mark_refused(&self, status: &mut RevisionStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a Revision is woken by itself, its children, its Pods, and (through the handle) its digests.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
    digests: &DigestFacts,
) -> ControllerHandle {
    let reconciler = RevisionReconciler { caches: caches.clone(), configs: configs.clone(), digests: digests.clone() };
    let controller = Controller::new("revision", reconciler, &informed.revisions, context)
        .owns(&informed.deployments)
        .owns(&informed.pod_autoscalers)
        .owns(&informed.images)
        .tracks(&informed.deployments)
        .tracks(&informed.pod_autoscalers)
        .tracks(&informed.secrets)
        .watches(&informed.pods, |delta| {
            delta.latest().and_then(|pod| labelled_key(&**pod, label::REVISION)).into_iter().collect()
        });
    let concerns = [
        Concern::Autoscaler,
        Concern::Defaults,
        Concern::Deployment,
        Concern::Features,
        Concern::Logging,
        Concern::Network,
        Concern::Observability,
    ];
    configs.concern(controller, &concerns).start()
}
