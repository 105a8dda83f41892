//! Route: gives hosts to Revisions, through an Ingress and placeholder Services.
//!
//! ```text
//! traffic ──assign──► targets ──rollout──► shares ──► Ingress (hosts → Revisions' public Services)
//!    │                    │                               │ ready: where the load balancer is
//!    │ missing            └──► placeholder Service per host, at first a name that leads nowhere else,
//!    ▼                         then an alias of the private load balancer: calls from inside go through the gateway too
//! AllTrafficAssigned
//! ```
//! A target that is not ready leaves everything as it is: the old split goes on serving. A gradual rollout keeps its state in an annotation
//! of the Ingress. Ports other than the scheme's own stand in URLs ([`crate::Settings::external_authority`]).
//!
//! Where the operator wants TLS ([`tls`]), hosts have Certificates; once one is issued, the Ingress serves its hosts with TLS and their URLs say
//! `https`.
//!
//! Who else writes: the Service makes Routes and their spec, the labeler holds the finalizer; users label placeholder Services to keep a
//! host inside the cluster. Specified by Knative's `pkg/reconciler/route`.

mod observe;
mod plan;
mod resources;
mod status;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::serving::v1::{Route, RouteStatus};

use crate::caches::{Caches, Informed};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;
pub(crate) use resources::KEPT_ANNOTATIONS;

/// Keeps Routes true.
pub(crate) struct RouteReconciler {
    caches: Caches,
    configs: ConfigStores,
}

impl Reconciler for RouteReconciler {
    type Object = Route;
    type Observed = Observed;
    type Status = RouteStatus;

    const WRITES: &'static [Write] = &[
        Write::child("", "Service"),
        Write::child("", "Endpoints"),
        Write::child("networking.internal.knative.dev", "Ingress"),
        Write::child("networking.internal.knative.dev", "Certificate"),
        Write::deletion("networking.internal.knative.dev", "Certificate"),
        Write::status(
            "serving.knative.dev",
            "Route",
            &["conditions", "observedGeneration", "url", "address", "traffic"],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, &self.configs.snapshot(), key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Route>> {
        Some(&observed.route)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<RouteStatus> {
        plan(observed, &self.configs.snapshot(), now)
    }

    fn mark_refused(&self, status: &mut RouteStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a Route is woken by itself, its children, and the Configurations and Revisions that it names.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
) -> ControllerHandle {
    let reconciler = RouteReconciler { caches: caches.clone(), configs: configs.clone() };
    let controller = Controller::new("route", reconciler, &informed.routes, context)
        .owns(&informed.core_services)
        .owns(&informed.endpoints)
        .owns(&informed.ingresses)
        .owns(&informed.certificates)
        .tracks(&informed.core_services)
        .tracks(&informed.endpoints)
        .tracks(&informed.ingresses)
        .tracks(&informed.certificates)
        .tracks(&informed.configurations)
        .tracks(&informed.revisions);
    configs.concern(controller, &[Concern::Domain, Concern::Features, Concern::Network]).start()
}
