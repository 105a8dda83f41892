//! What a decision about a copy may look at: the Endpoints, their Service, and the copies.

use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Serialize;

use crate::endpoints::slices;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Index<EndpointSlice>,
}

/// The facts about one Endpoints object.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The Endpoints; none if they are gone and have left copies behind.
    pub(super) endpoints: Option<Arc<Endpoints>>,
    /// The Service of their name.
    pub(super) service: Option<Arc<Service>>,
    /// The copies.
    pub(super) slices: Vec<Arc<EndpointSlice>>,
}

impl Caches {
    pub(super) fn new(
        endpoints: &Informer<Endpoints>,
        services: &Informer<Service>,
        slices: &Informer<EndpointSlice>,
    ) -> Self {
        Self { endpoints: endpoints.clone(), services: services.clone(), slices: slices::index(slices) }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let endpoints = self.endpoints.get(key);
        let slices = slices::of(&self.slices, key, slices::BY_MIRRORING);
        let is_nothing = endpoints.is_none() && slices.is_empty();
        (!is_nothing).then(|| Observed { endpoints, service: self.services.get(key), slices })
    }
}
