//! The conditions of a Route: is all traffic assigned, does the network serve it, is TLS in order.

use super::{Route, RouteStatus};
use crate::condition::{ConditionedStatus, READY};
use crate::go_text::quote;
use crate::meta::{annotation, annotations};
use crate::networking::{Certificate, IngressStatus};
use jiff::{SignedDuration, Timestamp};

/// The condition that every target of the traffic is there and ready.
pub const ALL_TRAFFIC_ASSIGNED: &str = "AllTrafficAssigned";
/// The condition that the network serves the split.
pub const INGRESS_READY: &str = "IngressReady";
/// The condition that certificates are in order, or not asked for.
pub const CERTIFICATE_PROVISIONED: &str = "CertificateProvisioned";

/// Why `CertificateProvisioned` is True without a certificate.
pub const EXTERNAL_DOMAIN_TLS_NOT_ENABLED: &str = "external-domain-tls is not enabled";
/// Why `CertificateProvisioned` is True without a certificate, for a cluster-local Route.
pub const TLS_NOT_ENABLED_FOR_CLUSTER_LOCAL: &str = "TLS is not enabled for cluster-local";

impl Route {
    /// How long a gradual rollout takes, as the Route itself asks; zero if it does not.
    pub fn rollout_duration(&self) -> SignedDuration {
        annotation::ROLLOUT_DURATION
            .value(annotations(&self.metadata))
            .and_then(|text| crate::duration::parse(text).ok())
            .unwrap_or(SignedDuration::ZERO)
    }
}

impl RouteStatus {
    /// A placeholder Service of that name belongs to somebody else.
    pub fn mark_service_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = crate::serving::not_owned_message("placeholder Service", name);
        self.manage(now).mark_false(INGRESS_READY, "NotOwned", &message);
    }

    /// Placeholder Endpoints of that name belong to somebody else.
    pub fn mark_endpoints_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = crate::serving::not_owned_message("placeholder Endpoint", name);
        self.manage(now).mark_false(INGRESS_READY, "NotOwned", &message);
    }

    /// The network has not heard of the split yet.
    pub fn mark_ingress_not_configured(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(INGRESS_READY, "IngressNotConfigured", "Ingress has not yet been reconciled.");
    }

    /// Traffic is being moved to a new revision step by step.
    pub fn mark_rollout_in_progress(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(
            INGRESS_READY,
            "RolloutInProgress",
            "A gradual rollout of the latest revision(s) is in progress.",
        );
    }

    /// Copies what the Ingress says.
    pub fn propagate_ingress(&mut self, ingress: &IngressStatus, now: Timestamp) {
        match ingress.condition(READY) {
            None => self.mark_ingress_not_configured(now),
            ready => {
                self.manage(now).copy(INGRESS_READY, ready);
            }
        }
    }

    /// Every target is there and ready.
    pub fn mark_traffic_assigned(&mut self, now: Timestamp) {
        self.manage(now).mark_true(ALL_TRAFFIC_ASSIGNED);
    }

    /// The targets could not be looked at.
    pub fn mark_unknown_traffic_error(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(ALL_TRAFFIC_ASSIGNED, "Unknown", message);
    }

    /// The split cannot be served, for a reason that has no method of its own.
    pub fn mark_traffic_error(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(ALL_TRAFFIC_ASSIGNED, reason, message);
    }

    /// A target's Configuration has no ready Revision yet.
    pub fn mark_configuration_not_ready(&mut self, name: &str, now: Timestamp) {
        let message = format!("Configuration {} is waiting for a Revision to become ready.", quote(name));
        self.manage(now).mark_unknown(ALL_TRAFFIC_ASSIGNED, "RevisionMissing", &message);
    }

    /// A target's Configuration failed to make a Revision ready.
    pub fn mark_configuration_failed(&mut self, name: &str, now: Timestamp) {
        let message = format!("Configuration {} does not have any ready Revision.", quote(name));
        self.manage(now).mark_false(ALL_TRAFFIC_ASSIGNED, "RevisionMissing", &message);
    }

    /// A target's Revision is not ready yet.
    pub fn mark_revision_not_ready(&mut self, name: &str, now: Timestamp) {
        let message = format!("Revision {} is not yet ready.", quote(name));
        self.manage(now).mark_unknown(ALL_TRAFFIC_ASSIGNED, "RevisionMissing", &message);
    }

    /// A target's Revision failed.
    pub fn mark_revision_failed(&mut self, name: &str, now: Timestamp) {
        let message = format!("Revision {} failed to become ready.", quote(name));
        self.manage(now).mark_false(ALL_TRAFFIC_ASSIGNED, "RevisionMissing", &message);
    }

    /// A target's Revision belongs to another Service (`actual`, empty if to none).
    pub fn mark_revision_not_owned(&mut self, revision: &str, expected: &str, actual: &str, now: Timestamp) {
        let message = if actual.is_empty() {
            format!("Revision {} does not belong to Service {}.", quote(revision), quote(expected))
        } else {
            let (revision, actual, expected) = (quote(revision), quote(actual), quote(expected));
            format!("Revision {revision} belongs to Service {actual}, not Service {expected}.")
        };
        self.manage(now).mark_false(ALL_TRAFFIC_ASSIGNED, "RevisionNotOwned", &message);
    }

    /// A target's Configuration or Revision (`kind`) is not there.
    pub fn mark_missing_target(&mut self, kind: &str, name: &str, now: Timestamp) {
        let message = format!("{kind} {} referenced in traffic not found.", quote(name));
        self.manage(now).mark_false(ALL_TRAFFIC_ASSIGNED, &format!("{kind}Missing"), &message);
    }

    /// The certificate is there.
    pub fn mark_certificate_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(CERTIFICATE_PROVISIONED);
    }

    /// The certificate is being provided.
    pub fn mark_certificate_not_ready(&mut self, certificate: &Certificate, now: Timestamp) {
        let message = format!("Certificate {} is not ready: {}", name_of(certificate), reason_of(certificate));
        self.manage(now).mark_unknown(CERTIFICATE_PROVISIONED, "CertificateNotReady", &message);
    }

    /// The certificate cannot be provided.
    pub fn mark_certificate_failed(&mut self, certificate: &Certificate, now: Timestamp) {
        let message =
            format!("Certificate {} fails to be provisioned: {}", name_of(certificate), reason_of(certificate));
        self.manage(now).mark_false(CERTIFICATE_PROVISIONED, "CertificateProvisionFailed", &message);
    }

    /// A certificate of that name belongs to somebody else.
    pub fn mark_certificate_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = format!("There is an existing certificate {name} that we don't own.");
        self.manage(now).mark_false(CERTIFICATE_PROVISIONED, "CertificateNotOwned", &message);
    }

    /// No certificate is asked for, and why.
    pub fn mark_tls_not_enabled(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_true_with_reason(CERTIFICATE_PROVISIONED, "TLSNotEnabled", message);
    }

    /// Plain HTTP is served while the certificate is not there.
    pub fn mark_http_downgrade(&mut self, name: &str, now: Timestamp) {
        let message = format!("Certificate {name} is not ready downgrade HTTP.");
        self.manage(now).mark_true_with_reason(CERTIFICATE_PROVISIONED, "HTTPDowngrade", &message);
    }
}

fn name_of(certificate: &Certificate) -> &str {
    certificate.metadata.name.as_deref().unwrap_or_default()
}

fn reason_of(certificate: &Certificate) -> &str {
    certificate.status.condition(READY).map(|ready| ready.reason.as_str()).unwrap_or_default()
}
