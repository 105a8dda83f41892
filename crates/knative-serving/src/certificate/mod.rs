//! Certificate: has a certificate issued by this installation's own authority, and keeps it in a Secret.
//!
//! ```text
//! authority (a Secret: made once, renewed with the same key) ──signs──► Secret of the Certificate: tls.crt, tls.key, ca.crt
//!                                                                        made anew when two thirds of its time are over,
//!                                                                        when the names change, or when somebody deletes it
//! ```
//! Which provider a Certificate is for is in its class annotation: only those of this installation's class
//! ([`crate::Settings::certificate_class`]) are looked at, so that others (an ACME client, say) can serve theirs beside it. A Secret that
//! somebody put at the authority's place is used as it is, and never written.
//!
//! A certificate that is needed is made while the facts are gathered ([`workshop`]): what is random comes to the plan as a value.
//!
//! Who else writes: Routes, DomainMappings, namespaces and Revisions make Certificates and their spec. Specified by Knative's `networking` API.

mod observe;
mod plan;
mod resources;
mod workshop;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, ControllerHandle, Key, Plan, Reconciler};
use base_rt::Clock;
use jiff::Timestamp;
use knative_apis::networking::{Certificate, CertificateStatus};

use crate::caches::{Caches, Informed};
use crate::settings::Settings;
use observe::{Observed, gather};
use plan::plan;
use workshop::Pki;

/// Keeps Certificates of this installation's class true.
pub(crate) struct CertificateReconciler {
    caches: Caches,
    settings: Arc<Settings>,
    clock: Clock,
}

impl Reconciler for CertificateReconciler {
    type Object = Certificate;
    type Observed = Observed;
    type Status = CertificateStatus;

    const WRITES: &'static [Write] = &[
        Write::child("", "Secret"),
        Write::status(
            "networking.internal.knative.dev",
            "Certificate",
            &["conditions", "observedGeneration", "notAfter"],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.caches, (&self.settings, &Pki), (key, self.clock.now()))
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Certificate>> {
        Some(&observed.certificate)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<CertificateStatus> {
        plan(observed, &self.settings, now)
    }

    fn mark_refused(&self, status: &mut CertificateStatus, condition: &Condition, now: Timestamp) {
        crate::status::mark_refused(status, condition, now);
    }
}

/// Starts the controller: a Certificate is woken by itself, its Secret, and the authority's.
pub(crate) fn wire(
    context: &Context,
    (informed, caches): (&Informed, &Caches),
    settings: &Arc<Settings>,
) -> ControllerHandle {
    let reconciler =
        CertificateReconciler { caches: caches.clone(), settings: Arc::clone(settings), clock: context.clock };
    Controller::new("certificate", reconciler, &informed.certificates, context)
        .owns(&informed.secrets)
        .tracks(&informed.secrets)
        .start()
}
