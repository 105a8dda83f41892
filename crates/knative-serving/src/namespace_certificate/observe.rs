//! What the plan of a namespace's Certificates looks at.

use std::sync::Arc;

use base_controller::Key;
use k8s_openapi::api::core::v1::Namespace;
use knative_apis::meta::internal_tls::{
    DATA_PLANE_NAME, ROUTING_CERTIFICATE, ROUTING_NAME, SERVING_CERTIFICATE, data_plane_user_name,
};
use knative_apis::networking::Certificate;
use serde::Serialize;

use crate::caches::Caches;
use crate::config::Configs;

/// The facts about one namespace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The namespace.
    pub(super) namespace: Arc<Namespace>,
    /// Its wildcard Certificates, whosever.
    pub(super) certificates: Vec<Arc<Certificate>>,
    /// The Certificate of what Knative's parts show each other, if the namespace needs one: its name, the names in it, and what is there.
    pub(super) internal: Option<Internal>,
}

/// A Certificate of what Knative's parts show each other.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Internal {
    pub(super) name: &'static str,
    pub(super) dns_names: Vec<String>,
    /// What is there, whosever.
    pub(super) existing: Option<Arc<Certificate>>,
}

/// Reads the facts; none if the namespace is gone or going.
pub(super) fn gather(caches: &Caches, configs: &Configs, key: &Key) -> Option<Observed> {
    let namespace = caches.namespaces.get(key)?;
    if namespace.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let needed = configs.network.system_internal_tls.then(|| needed(caches, configs, key.name())).flatten();
    let internal = needed.map(|(name, own)| Internal {
        name,
        dns_names: vec![own, DATA_PLANE_NAME.to_owned()],
        existing: caches.certificates.get(&Key::new(key.name(), name)),
    });
    Some(Observed { namespace, certificates: caches.wildcards_of_namespace.get(key.name()), internal })
}

/// Which Certificate a namespace needs for what Knative's parts show each other, and the name that is its own.
fn needed(caches: &Caches, configs: &Configs, namespace: &str) -> Option<(&'static str, String)> {
    if namespace == configs.settings.system_namespace {
        return Some((ROUTING_CERTIFICATE, ROUTING_NAME.to_owned()));
    }
    let has_revisions = !caches.revisions_of_namespace.get(namespace).is_empty();
    has_revisions.then(|| (SERVING_CERTIFICATE, data_plane_user_name(namespace)))
}
