//! Certificates of namespaces.
//!
//! - Wildcards: one for every domain of the operator, where the operator wants that (`namespace-wildcard-cert-selector`). Routes of the namespace
//!   then ask for none of their own. What is no longer wanted is deleted.
//! - What Knative's parts show each other (`system-internal-tls`): one for the queue-proxies of every namespace that has Revisions, one for what
//!   routes requests in the system namespace. They stay as long as the namespace.
//!
//! Who else writes: nobody. Specified by Knative's `pkg/reconciler/nscert` and `pkg/reconciler/revision`.

mod observe;
mod plan;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::caches::{Caches, Informed};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;

/// Keeps the Certificates of namespaces.
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
        gather(&self.caches, &self.configs.snapshot(), key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Namespace>> {
        Some(&observed.namespace)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        plan(observed, &self.configs.snapshot())
    }
}

/// Starts the controller: a namespace is woken by itself, by its Certificates, and by a new Revision.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
) -> ControllerHandle {
    let reconciler = NamespaceCertificates { caches: caches.clone(), configs: configs.clone() };
    let key =
        |metadata: &ObjectMeta| metadata.namespace.iter().map(|namespace| Key::new("", namespace.as_str())).collect();
    let controller = Controller::new("namespacecertificate", reconciler, &informed.namespaces, context)
        .watches(&informed.certificates, move |delta| {
            delta.latest().map(|certificate| key(&certificate.metadata)).unwrap_or_default()
        })
        .watches(&informed.revisions, move |delta| match (delta.old, delta.new) {
            (None, Some(revision)) => key(&revision.metadata),
            _ => Vec::new(),
        });
    configs.concern(controller, &[Concern::Domain, Concern::Network]).start()
}
