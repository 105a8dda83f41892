//! What the plan of a namespace's wildcard Certificates looks at.

use std::sync::Arc;

use base_controller::Key;
use k8s_openapi::api::core::v1::Namespace;
use knative_apis::networking::Certificate;
use serde::Serialize;

use crate::caches::Caches;

/// The facts about one namespace.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The namespace.
    pub(super) namespace: Arc<Namespace>,
    /// Its wildcard Certificates, whosever.
    pub(super) certificates: Vec<Arc<Certificate>>,
}

/// Reads the facts; none if the namespace is gone or going.
pub(super) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let namespace = caches.namespaces.get(key)?;
    let certificates = caches.wildcards_of_namespace.get(key.name());
    namespace.metadata.deletion_timestamp.is_none().then_some(Observed { namespace, certificates })
}
