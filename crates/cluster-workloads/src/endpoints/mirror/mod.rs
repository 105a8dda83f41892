//! Copies Endpoints that somebody makes for a Service without a selector into EndpointSlices, which is where consumers look.
//!
//! Not copied are Endpoints labelled `endpointslice.kubernetes.io/skip-mirror: "true"`, those that serve a leader election, and those without a
//! Service. Specified by `k8s.io/kubernetes/pkg/controller/endpointslicemirroring`.

mod observe;
mod plan;
mod resources;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::slices::service_of;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "endpointslicemirroring-controller";

/// Keeps copies of Endpoints true.
struct Mirror {
    caches: Caches,
}

impl Reconciler for Mirror {
    type Object = Endpoints;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[Write::child("discovery.k8s.io", "EndpointSlice")];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Endpoints>> {
        observed.endpoints.as_ref()
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        plan::plan(observed)
    }
}

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    let endpoints = context.informers.get::<Endpoints>(Scope::all());
    let services = context.informers.get::<Service>(Scope::all());
    let slices = context.informers.get::<EndpointSlice>(Scope::all());
    let caches = Caches::new(&endpoints, &services, &slices);
    Controller::new(NAME, Mirror { caches }, &endpoints, context)
        .watches(&services, |delta| delta.latest().map(|service| Key::of(&**service)).into_iter().collect())
        .watches(&slices, |delta| delta.both().filter_map(|slice| service_of(slice)).collect())
        .start();
}
