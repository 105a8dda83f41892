//! What the plan of a Revision looks at.

use std::collections::BTreeSet;
use std::sync::Arc;

use base_controller::Key;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::meta::internal_tls::SERVING_CERTIFICATE;
use knative_apis::serving::v1::Revision;
use knative_logic::names;
use serde::Serialize;

use crate::caches::{Caches, index_value};
use crate::digest::{DigestFacts, Resolution};

/// The facts about one Revision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Revision.
    pub(crate) revision: Arc<Revision>,
    /// The Deployment of the child's name, whoever made it.
    pub(crate) deployment: Option<Arc<Deployment>>,
    /// The PodAutoscaler of its name, whoever made it.
    pub(crate) pod_autoscaler: Option<Arc<PodAutoscaler>>,
    /// The names of the Images that are there.
    pub(crate) images: BTreeSet<String>,
    /// The first of its Pods that is not going, else the first: if none works, one tells why as well as another.
    pub(crate) pod: Option<Arc<Pod>>,
    /// What is known about the digests of its images.
    pub(crate) digests: Resolution,
    /// Whether its Pods have a certificate to show each other and the parts before them.
    pub(crate) has_certificate: bool,
}

/// Reads the facts; none if the Revision is gone or going.
pub(crate) fn gather(caches: &Caches, digests: &DigestFacts, key: &Key) -> Option<Observed> {
    let revision = caches.revisions.get(key)?;
    if revision.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let in_namespace = |name: String| Key::new(key.namespace(), name);
    let pods = caches.pods_of_revision.get(&index_value(key));
    let pod = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).or_else(|| pods.first());
    let containers = revision.spec.pod.containers.iter().chain(revision.spec.pod.init_containers.iter().flatten());
    let image_names = containers.map(|container| names::image_cache(key.name(), &container.name));
    Some(Observed {
        deployment: caches.deployments.get(&in_namespace(names::deployment(key.name()))),
        pod_autoscaler: caches.pod_autoscalers.get(key),
        images: image_names.filter(|name| caches.images.get(&in_namespace(name.clone())).is_some()).collect(),
        pod: pod.map(Arc::clone),
        digests: digests.get(&revision),
        has_certificate: caches.secrets.get(&in_namespace(SERVING_CERTIFICATE.to_owned())).is_some(),
        revision,
    })
}
