//! Wildcard Certificates of namespaces: one for every domain of the operator, where the operator wants that
//! (`namespace-wildcard-cert-selector`).
//!
//! Routes of the namespace then ask for none of their own. What is no longer wanted is deleted.
//!
//! Who else writes: nobody. Specified by Knative's `pkg/reconciler/nscert`.

mod observe;
mod plan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;

use crate::caches::{Caches, Informed};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;

/// Keeps the wildcard Certificates of namespaces.
pub(crate) struct NamespaceCertificates {
    caches: Caches,
    configs: ConfigStores,
}

impl Reconciler for NamespaceCertificates {
    type Object = Namespace;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[
        Write::child("networking.internal.knative.dev", "Certificate"),
        Write::deletion("networking.internal.knative.dev", "Certificate"),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Namespace>> {
        Some(&observed.namespace)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        plan(observed, &self.configs.snapshot())
    }
}

/// Starts the controller: a namespace is woken by itself and by its wildcard Certificates.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
) -> ControllerHandle {
    let reconciler = NamespaceCertificates { caches: caches.clone(), configs: configs.clone() };
    let controller = Controller::new("namespacecertificate", reconciler, &informed.namespaces, context).watches(
        &informed.certificates,
        |delta| {
            let namespace = delta.latest().and_then(|certificate| certificate.metadata.namespace.clone());
            namespace.map(|namespace| Key::new("", namespace)).into_iter().collect()
        },
    );
    configs.concern(controller, &[Concern::Domain, Concern::Network]).start()
}
