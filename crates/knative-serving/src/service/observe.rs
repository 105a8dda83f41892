//! What the plan of a Service looks at.

use std::sync::Arc;

use base_controller::Key;
use knative_apis::serving::v1::{Configuration, Revision, Route, Service};
use serde::Serialize;

use crate::caches::Caches;

/// The facts about one Service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Service.
    pub(crate) service: Arc<Service>,
    /// The Configuration of its name, whoever made it.
    pub(crate) configuration: Option<Arc<Configuration>>,
    /// The Route of its name, whoever made it.
    pub(crate) route: Option<Arc<Route>>,
    /// The Revision that the template names, whoever made it.
    pub(crate) named: Option<Arc<Revision>>,
}

/// Reads the facts; none if the Service is gone or going.
pub(crate) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let service = caches.services.get(key)?;
    if service.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = service.spec.template.metadata.name.as_deref().filter(|name| !name.is_empty());
    let named = name.and_then(|name| caches.revisions.get(&Key::new(key.namespace(), name)));
    let (configuration, route) = (caches.configurations.get(key), caches.routes.get(key));
    Some(Observed { service, configuration, route, named })
}
