//! Configuration: makes one Revision for each change of its template, and says which one is ready.
//!
//! A Revision is made once per generation (`<name>-00001`, or the name that the template gives), never changed, and never made again while
//! one of that generation is there. `Ready` follows the latest Revision; `latestReadyRevisionName` is the newest ready one between the last
//! ready and the current generation, except that a Revision chosen by name comes first, so that a rollback by name moves it backwards.
//!
//! Who else writes: the Service its spec and metadata, the labeler its `serving.knative.dev/routes` annotation.
//! Specified by Knative's `pkg/reconciler/configuration`.

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
use knative_apis::serving::v1::{Configuration, ConfigurationStatus};

use crate::caches::{Caches, Informed};
use observe::{Observed, gather};
pub(crate) use plan::is_current;
use plan::plan;

/// Keeps Configurations true.
pub(crate) struct ConfigurationReconciler {
    caches: Caches,
}

impl Reconciler for ConfigurationReconciler {
    type Object = Configuration;
    type Observed = Observed;
    type Status = ConfigurationStatus;

    const WRITES: &'static [Write] = &[
        Write::child("serving.knative.dev", "Revision"),
        Write::status(
            "serving.knative.dev",
            "Configuration",
            &["conditions", "observedGeneration", "latestCreatedRevisionName", "latestReadyRevisionName"],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Configuration>> {
        Some(&observed.configuration)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<ConfigurationStatus> {
        plan(observed, now)
    }

    fn mark_refused(&self, status: &mut ConfigurationStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a Configuration is woken by itself, its Revisions, and a Revision that has the name it needs.
pub(crate) fn wire(context: &Context, informed: &Informed, caches: &Caches) -> ControllerHandle {
    let reconciler = ConfigurationReconciler { caches: caches.clone() };
    Controller::new("configuration", reconciler, &informed.configurations, context)
        .owns(&informed.revisions)
        .tracks(&informed.revisions)
        .start()
}
