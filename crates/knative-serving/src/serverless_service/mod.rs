//! ServerlessService (SKS): the two Kubernetes Services of a Revision, and where the public one leads.
//!
//! ```text
//! <rev>-private   selects the Revision's Pods; the cluster keeps its Endpoints
//! <rev>           no selector; its Endpoints are written here:
//!                   Serve → those of the private Service      Proxy → some of the activator's
//! ```
//! Without a ready Pod it is Proxy whatever the spec says, without any activator it is Serve. The Endpoints are the core/v1 kind, which
//! Knative's clients look at; the cluster mirrors them into EndpointSlices.
//!
//! Who else writes: the PodAutoscaler makes ServerlessServices and their spec; the cluster the private Endpoints.
//! Specified by Knative's `pkg/reconciler/serverlessservice`.

mod observe;
mod plan;
mod resources;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::networking::{ServerlessService, ServerlessServiceStatus};

use crate::caches::{Caches, Informed};
use observe::{Observed, gather};
use plan::plan;

/// Keeps ServerlessServices true.
pub(crate) struct ServerlessServiceReconciler {
    caches: Caches,
    system_namespace: String,
}

impl Reconciler for ServerlessServiceReconciler {
    type Object = ServerlessService;
    type Observed = Observed;
    type Status = ServerlessServiceStatus;

    const WRITES: &'static [Write] = &[
        Write::child("", "Service"),
        Write::child("", "Endpoints"),
        Write::status(
            "networking.internal.knative.dev",
            "ServerlessService",
            &["conditions", "observedGeneration", "serviceName", "privateServiceName"],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, &self.system_namespace, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<ServerlessService>> {
        Some(&observed.serverless_service)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<ServerlessServiceStatus> {
        plan(observed, now)
    }

    fn mark_refused(&self, status: &mut ServerlessServiceStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: an SKS is woken by itself, its Services, their Endpoints and the activator's, and its Deployment.
pub(crate) fn wire(
    context: &Context,
    (informed, caches): (&Informed, &Caches),
    system_namespace: &str,
) -> ControllerHandle {
    let reconciler =
        ServerlessServiceReconciler { caches: caches.clone(), system_namespace: system_namespace.to_owned() };
    Controller::new("serverlessservice", reconciler, &informed.serverless_services, context)
        .owns(&informed.core_services)
        .owns(&informed.endpoints)
        .tracks(&informed.core_services)
        .tracks(&informed.endpoints)
        .tracks(&informed.deployments)
        .start()
}
