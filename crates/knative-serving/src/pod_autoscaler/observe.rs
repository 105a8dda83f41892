//! What the plan of a PodAutoscaler looks at.

use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use knative_apis::autoscaling::{HPA, KPA, Metric, PodAutoscaler};
use knative_apis::networking::ServerlessService;
use serde::Serialize;

use super::Facts;
use crate::autoscaler::DecisionFact;
use crate::caches::{Caches, index_value};
use crate::pods;

/// The facts about one PodAutoscaler.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The PodAutoscaler.
    pub(crate) autoscaler: Arc<PodAutoscaler>,
    /// The ServerlessService of its name, whoever made it.
    pub(crate) serverless_service: Option<Arc<ServerlessService>>,
    /// The Metric of its name, whoever made it.
    pub(crate) metric: Option<Arc<Metric>>,
    /// The HorizontalPodAutoscaler of its name, whoever made it.
    pub(crate) horizontal: Option<Arc<HorizontalPodAutoscaler>>,
    /// The Deployment that is scaled.
    pub(crate) deployment: Option<Arc<Deployment>>,
    /// How many Pods take requests.
    pub(crate) ready: i32,
    /// What was decided last, and from what; none before the first decision.
    pub(crate) decision: Option<DecisionFact>,
    /// Whether the activator answers on the public Service, as far as that was asked.
    pub(crate) activator_answers: bool,
    /// Everything above that it looks at by name.
    #[serde(skip)]
    pub(crate) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the object is gone, going, or another autoscaler's.
pub(crate) fn gather(caches: &Caches, facts: &Facts, key: &Key) -> Option<Observed> {
    let autoscaler = caches.pod_autoscalers.get(key)?;
    if autoscaler.metadata.deletion_timestamp.is_some() || !is_ours(&autoscaler) {
        return None;
    }
    let target = autoscaler.spec.scale_target_ref.name.as_deref().unwrap_or_default();
    let deployment = Key::new(key.namespace(), target);
    Some(Observed {
        serverless_service: caches.serverless_services.get(key),
        metric: caches.metrics.get(key),
        horizontal: caches.horizontals.get(key),
        deployment: caches.deployments.get(&deployment),
        ready: pods::ready_count(&caches.pods_of_revision.get(&index_value(key))),
        decision: facts.decisions.get(key),
        activator_answers: facts.probes.get(key),
        references: vec![
            ObjectRef::new::<ServerlessService>(key.clone()),
            ObjectRef::new::<Metric>(key.clone()),
            ObjectRef::new::<HorizontalPodAutoscaler>(key.clone()),
            ObjectRef::new::<Deployment>(deployment),
        ],
        autoscaler,
    })
}

/// Whether its class is one of Knative's own.
fn is_ours(autoscaler: &PodAutoscaler) -> bool {
    matches!(autoscaler.class(), KPA | HPA)
}
