//! Service: keeps a Configuration and a Route of its own name, and says what they say.
//!
//! Labels and annotations are handed down, a gradual rollout's duration only to the Route. A template that names its Revision holds the
//! Route back until the Configuration has looked at it, lest traffic goes to somebody else's Revision of that name.
//!
//! Who else writes the children: the labeler the Configuration's `serving.knative.dev/routes` annotation, which is kept.
//! Specified by Knative's `pkg/reconciler/service`.

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
use knative_apis::serving::v1::{Service, ServiceStatus};

use crate::caches::{Caches, Informed};
use observe::{Observed, gather};
use plan::plan;

/// Keeps Services true.
pub(crate) struct ServiceReconciler {
    caches: Caches,
}

impl Reconciler for ServiceReconciler {
    type Object = Service;
    type Observed = Observed;
    type Status = ServiceStatus;

    const WRITES: &'static [Write] = &[
        Write::child("serving.knative.dev", "Configuration"),
        Write::child("serving.knative.dev", "Route"),
        Write::status(
            "serving.knative.dev",
            "Service",
            &[
                "conditions",
                "observedGeneration",
                "latestCreatedRevisionName",
                "latestReadyRevisionName",
                "url",
                "address",
                "traffic",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Service>> {
        Some(&observed.service)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<ServiceStatus> {
        plan(observed, now)
    }

    fn mark_refused(&self, status: &mut ServiceStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a Service is woken by itself, its Configuration and Route, and the Revision that its template names.
pub(crate) fn wire(context: &Context, informed: &Informed, caches: &Caches) -> ControllerHandle {
    let reconciler = ServiceReconciler { caches: caches.clone() };
    Controller::new("service", reconciler, &informed.services, context)
        .owns(&informed.configurations)
        .owns(&informed.routes)
        .tracks(&informed.configurations)
        .tracks(&informed.routes)
        .tracks(&informed.revisions)
        .start()
}
