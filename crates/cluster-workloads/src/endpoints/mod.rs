//! Endpoints and EndpointSlices: which addresses stand behind a Service.
//!
//! Two controllers:
//! - of **Services** with a selector (this file): the Pods that it takes become the Service's Endpoints (one object, at most
//!   [`resources::MAX_ADDRESSES`] addresses) and EndpointSlices (at most [`slices::MAX_PER_SLICE`] each). A Pod is in as soon as it has an
//!   address; it is *ready* while its Ready condition holds and it is not being deleted (or always, with `publishNotReadyAddresses`).
//! - of **Endpoints** that somebody else makes for a Service without a selector (`mirror`): they are copied into EndpointSlices.
//!
//! Slices keep their names and order as long as they can: an endpoint that stays, stays where it is. A Service without endpoints has one empty
//! slice. Services of type ExternalName, and slices that others make, are left alone.
//!
//! Specified by `k8s.io/endpointslice`, `k8s.io/kubernetes/pkg/controller/{endpoint,endpointslicemirroring}` and recorded timelines.

mod departed;
pub(crate) mod mirror;
mod observe;
mod plan;
mod resources;
mod slices;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::objects::labels;
pub use mirror::NAME as MIRROR_NAME;
use observe::{Caches, Observed};
pub(crate) use slices::{index as slices_by_service, service_of};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "endpoint-controller";

/// Keeps the Endpoints and EndpointSlices of Services true.
struct ServiceEndpoints {
    caches: Caches,
}

impl Reconciler for ServiceEndpoints {
    type Object = Service;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] =
        &[Write::child("", "Endpoints"), Write::child("discovery.k8s.io", "EndpointSlice")];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Service>> {
        observed.service.as_ref()
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        plan::plan(observed)
    }
}

/// Starts the controller of Services.
pub fn start(context: &Context) {
    let services = context.informers.get::<Service>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let endpoints = context.informers.get::<Endpoints>(Scope::all());
    let slices = context.informers.get::<EndpointSlice>(Scope::all());
    let caches = Caches::new(&services, &pods, &endpoints, &slices);
    let taking = services.clone();
    Controller::new(NAME, ServiceEndpoints { caches }, &services, context)
        .watches(&pods, move |delta| takers_of(&taking, delta))
        .watches(&endpoints, |delta| delta.latest().map(|endpoints| Key::of(&**endpoints)).into_iter().collect())
        .watches(&slices, |delta| delta.both().filter_map(|slice| service_of(slice)).collect())
        .start();
}

/// The Services that take a Pod, before or after its change, if anything about it changed that they tell.
fn takers_of(services: &Informer<Service>, delta: &Delta<'_, Pod>) -> Vec<Key> {
    if let (Some(old), Some(new)) = (delta.old, delta.new)
        && resources::are_alike(old, new)
    {
        return Vec::new();
    }
    let namespace = delta.latest().and_then(|pod| pod.metadata.namespace.as_deref()).unwrap_or_default();
    let takes = |service: &Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| delta.both().any(|pod| labels::map_takes(selector, &pod.metadata)))
    };
    services.list_in(namespace).iter().filter(|service| takes(service)).map(|service| Key::of(&**service)).collect()
}
