//! What the plan of a ServerlessService looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use knative_apis::meta::ACTIVATOR_SERVICE;
use knative_apis::networking::ServerlessService;
use knative_logic::names;
use serde::Serialize;

use crate::caches::Caches;

/// The facts about one ServerlessService.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The ServerlessService.
    pub(crate) serverless_service: Arc<ServerlessService>,
    /// What the Pods of its Deployment carry; none if the Deployment is not there.
    pub(crate) selector: Option<BTreeMap<String, String>>,
    /// The Service of the private name, whoever made it.
    pub(crate) private_service: Option<Arc<Service>>,
    /// The Service of its own name, whoever made it.
    pub(crate) public_service: Option<Arc<Service>>,
    /// Where the private Service leads.
    pub(crate) private_endpoints: Option<Arc<Endpoints>>,
    /// Where the public Service leads, whoever wrote it.
    pub(crate) public_endpoints: Option<Arc<Endpoints>>,
    /// Where the activators are.
    pub(crate) activator_endpoints: Option<Arc<Endpoints>>,
    /// Everything above that it looks at by name.
    #[serde(skip)]
    pub(crate) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the object is gone or going.
pub(crate) fn gather(caches: &Caches, system_namespace: &str, key: &Key) -> Option<Observed> {
    let serverless_service = caches.serverless_services.get(key)?;
    if serverless_service.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let private = Key::new(key.namespace(), names::private_service(key.name()));
    let activator = Key::new(system_namespace, ACTIVATOR_SERVICE);
    let target = serverless_service.spec.object_ref.name.as_deref().unwrap_or_default();
    let deployment = Key::new(key.namespace(), target);
    let target = caches.deployments.get(&deployment);
    Some(Observed {
        selector: target.map(|target| target.spec.selector.match_labels.clone().unwrap_or_default()),
        private_service: caches.core_services.get(&private),
        public_service: caches.core_services.get(key),
        private_endpoints: caches.endpoints.get(&private),
        public_endpoints: caches.endpoints.get(key),
        activator_endpoints: caches.endpoints.get(&activator),
        references: vec![
            ObjectRef::new::<Deployment>(deployment),
            ObjectRef::new::<Service>(private.clone()),
            ObjectRef::new::<Service>(key.clone()),
            ObjectRef::new::<Endpoints>(private),
            ObjectRef::new::<Endpoints>(key.clone()),
            ObjectRef::new::<Endpoints>(activator),
        ],
        serverless_service,
    })
}
