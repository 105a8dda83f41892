//! Labeler: tells Configurations and Revisions which Routes lead to them.
//!
//! The names of the Routes stand in an annotation; a Revision also has a label, `active` with and `reserve` without any, and the time when
//! that changed. The PodAutoscaler's reachability and the collection of Revisions go by it. What a Route no longer leads to is told only
//! once the Route is ready or has failed: until then the old split may still be served. The finalizer on Routes is held here, so that what
//! a deleted Route led to is told.
//!
//! Who else writes these annotations: the Service its Configuration's, the Configuration its new Revision's (both keep what is there).
//! Specified by Knative's `pkg/reconciler/labeler`.

mod observe;
mod plan;
mod resources;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::serving::v1::Route;

use crate::caches::{Caches, Informed};
use observe::{Observed, gather};
use plan::plan;

/// The finalizer that is held on Routes.
pub(crate) const FINALIZER: &str = "routes.serving.knative.dev";

/// Keeps routing annotations true. It writes no status.
pub(crate) struct Labeler {
    caches: Caches,
}

impl Reconciler for Labeler {
    type Object = Route;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[
        Write::finalizer("serving.knative.dev", "Route", FINALIZER),
        Write::fields("serving.knative.dev", "Configuration", &["metadata.annotations[serving.knative.dev/routes]"]),
        Write::fields(
            "serving.knative.dev",
            "Revision",
            &[
                "metadata.annotations[serving.knative.dev/routes]",
                "metadata.annotations[serving.knative.dev/routingStateModified]",
                "metadata.labels[serving.knative.dev/routingState]",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Route>> {
        Some(&observed.route)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(observed, now)
    }
}

/// Starts the controller: a Route is woken by itself and by what its spec and status name.
pub(crate) fn wire(context: &Context, informed: &Informed, caches: &Caches) -> ControllerHandle {
    Controller::new("labeler", Labeler { caches: caches.clone() }, &informed.routes, context)
        .tracks(&informed.configurations)
        .tracks(&informed.revisions)
        .start()
}
