//! DomainMapping: gives a domain name, its own, to something that has an address in its namespace, through an Ingress.
//!
//! ```text
//! name ──claim──► ClusterDomainClaim: the name belongs to one namespace of the cluster
//! ref ──resolve──► http://<service>.<namespace>.svc.<cluster domain>
//!                       └──► Ingress: the name ► that Service, as if its own host had been asked for
//! ```
//! The claim is made here if the operator lets it be (`autocreate-cluster-domain-claims`), and given up with the last mapping of the name,
//! for which there is a finalizer; whoever waits for the name is woken by that.
//!
//! What can be referred to are Knative's Services and Routes, and Kubernetes' Services. A mapping brings its certificate (`spec.tls`), or has a
//! Certificate made where the operator wants TLS; until that is issued, it is served without TLS where the operator allows that.
//!
//! Who else writes: nobody. Specified by Knative's `pkg/reconciler/domainmapping`.

mod observe;
mod plan;
mod resources;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::serving::v1beta1::{DomainMapping, DomainMappingStatus};

use crate::caches::{Caches, Informed};
use crate::config::{Concern, ConfigStores};
use observe::{Observed, gather};
use plan::plan;

/// The finalizer that is held on DomainMappings.
pub(crate) const FINALIZER: &str = "domainmappings.serving.knative.dev";

/// Keeps DomainMappings true.
pub(crate) struct DomainMappingReconciler {
    caches: Caches,
    configs: ConfigStores,
}

impl Reconciler for DomainMappingReconciler {
    type Object = DomainMapping;
    type Observed = Observed;
    type Status = DomainMappingStatus;

    const WRITES: &'static [Write] = &[
        Write::finalizer("serving.knative.dev", "DomainMapping", FINALIZER),
        Write::child("networking.internal.knative.dev", "ClusterDomainClaim"),
        Write::child("networking.internal.knative.dev", "Ingress"),
        Write::child("networking.internal.knative.dev", "Certificate"),
        Write::status("serving.knative.dev", "DomainMapping", &["conditions", "observedGeneration", "url", "address"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<DomainMapping>> {
        Some(&observed.mapping)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<DomainMappingStatus> {
        plan(observed, &self.configs.snapshot(), now)
    }

    fn mark_refused(&self, status: &mut DomainMappingStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a DomainMapping is woken by itself, its Ingress, the claim of its name, and what it refers to.
pub(crate) fn wire(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
) -> ControllerHandle {
    let reconciler = DomainMappingReconciler { caches: caches.clone(), configs: configs.clone() };
    let controller = Controller::new("domainmapping", reconciler, &informed.domain_mappings, context)
        .owns(&informed.ingresses)
        .owns(&informed.certificates)
        .tracks(&informed.ingresses)
        .tracks(&informed.certificates)
        .tracks(&informed.domain_claims)
        .tracks(&informed.services)
        .tracks(&informed.routes)
        .tracks(&informed.core_services);
    configs.concern(controller, &[Concern::Network]).start()
}
