//! What a decision about a Service's endpoints may look at: the Service, the Pods that it takes, and what has been written before.

use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Serialize;

use super::departed::Departed;
use super::slices;
use crate::objects::labels::ByLabel;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    services: Informer<Service>,
    departed: Departed,
    pods: ByLabel<Pod>,
    endpoints: Informer<Endpoints>,
    slices: Index<EndpointSlice>,
}

/// The facts about one Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The Service; none if it is gone and has left Endpoints behind.
    pub(super) service: Option<Arc<Service>>,
    /// The Pods that it takes, in the order of their names.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The Endpoints of its name.
    pub(super) endpoints: Option<Arc<Endpoints>>,
    /// The slices that this controller has made for it.
    pub(super) slices: Vec<Arc<EndpointSlice>>,
}

impl Caches {
    pub(super) fn new(
        services: &Informer<Service>,
        pods: &Informer<Pod>,
        endpoints: &Informer<Endpoints>,
        slices: &Informer<EndpointSlice>,
    ) -> Self {
        Self {
            services: services.clone(),
            departed: Departed::follow(services),
            pods: ByLabel::new(pods),
            endpoints: endpoints.clone(),
            slices: slices::index(slices),
        }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let endpoints = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else { return self.gather_leftover(key, endpoints) };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let pods = self.pods.selected_by_map(key.namespace(), &selector);
        let slices = slices::of(&self.slices, key, slices::BY_SELECTOR);
        Some(Observed { service: Some(service), pods, endpoints, slices })
    }

    /// Endpoints whose Service is gone: ours, or anybody's if we saw the Service go.
    fn gather_leftover(&self, key: &Key, endpoints: Option<Arc<Endpoints>>) -> Option<Observed> {
        let Some(endpoints) = endpoints else {
            self.departed.forget(key);
            return None;
        };
        let is_leftover = super::resources::is_ours(&endpoints) || self.departed.has(key);
        is_leftover.then(|| Observed {
            service: None,
            pods: Vec::new(),
            endpoints: Some(endpoints),
            slices: Vec::new(),
        })
    }
}
