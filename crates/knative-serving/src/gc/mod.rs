//! Revision garbage collection: deletes Revisions that no Route leads to and that are old, or too many.
//!
//! `knative_logic::revision_gc` says which; here they are deleted, and the Configuration is looked at again when the next one becomes old.
//! Nothing is written but deletions. Specified by Knative's `pkg/reconciler/gc`.

mod observe;
mod plan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::meta::label;
use knative_apis::serving::v1::Configuration;

use crate::caches::{Caches, Informed, labelled_key};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;

/// Collects the Revisions of Configurations.
pub(crate) struct RevisionCollector {
    caches: Caches,
    configs: ConfigStores,
}

impl Reconciler for RevisionCollector {
    type Object = Configuration;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[Write::deletion("serving.knative.dev", "Revision")];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Configuration>> {
        Some(&observed.configuration)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(observed, &self.configs.snapshot().gc, now)
    }
}

/// Starts the controller: a Configuration is woken by itself, and by Revisions that carry its name.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
) -> ControllerHandle {
    let reconciler = RevisionCollector { caches: caches.clone(), configs: configs.clone() };
    let controller =
        Controller::new("gc", reconciler, &informed.configurations, context).watches(&informed.revisions, |delta| {
            delta.latest().and_then(|revision| labelled_key(&**revision, label::CONFIGURATION)).into_iter().collect()
        });
    configs.concern(controller, &[Concern::Gc]).start()
}
