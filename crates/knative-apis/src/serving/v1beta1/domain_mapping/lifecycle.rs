//! The conditions of a DomainMapping.

use super::DomainMappingStatus;
use crate::condition::{ConditionedStatus, READY};
use crate::networking::IngressStatus;
use jiff::Timestamp;

/// The condition that the domain is this namespace's.
pub const DOMAIN_CLAIMED: &str = "DomainClaimed";
/// The condition that what the domain leads to is there and has an address.
pub const REFERENCE_RESOLVED: &str = "ReferenceResolved";
/// The condition that the network serves the domain.
pub const INGRESS_READY: &str = "IngressReady";
/// The condition that certificates are in order, or not asked for.
pub const CERTIFICATE_PROVISIONED: &str = "CertificateProvisioned";

impl DomainMappingStatus {
    /// The domain is ours.
    pub fn mark_domain_claimed(&mut self, now: Timestamp) {
        self.manage(now).mark_true(DOMAIN_CLAIMED);
    }

    /// The domain is another mapping's.
    pub fn mark_domain_claim_not_owned(&mut self, now: Timestamp) {
        let message = "The domain name is already in use by another DomainMapping";
        self.manage(now).mark_false(DOMAIN_CLAIMED, "DomainAlreadyClaimed", message);
    }

    /// The domain could not be claimed.
    pub fn mark_domain_claim_failed(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_false(DOMAIN_CLAIMED, "DomainClaimFailed", message);
    }

    /// What the domain leads to has an address.
    pub fn mark_reference_resolved(&mut self, now: Timestamp) {
        self.manage(now).mark_true(REFERENCE_RESOLVED);
    }

    /// What the domain leads to is not there or has no address.
    pub fn mark_reference_not_resolved(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_false(REFERENCE_RESOLVED, "ResolveFailed", message);
    }

    /// The network has not heard of the domain yet.
    pub fn mark_ingress_not_configured(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(INGRESS_READY, "IngressNotConfigured", "Ingress has not yet been reconciled.");
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

    /// No certificate is asked for, and why.
    pub fn mark_tls_not_enabled(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_true_with_reason(CERTIFICATE_PROVISIONED, "TLSNotEnabled", message);
    }

    /// The user brought a certificate.
    pub fn mark_certificate_provided_externally(&mut self, now: Timestamp) {
        let message = "TLS certificate was provided externally";
        self.manage(now).mark_true_with_reason(CERTIFICATE_PROVISIONED, "CertificateExternallyProvided", message);
    }

    /// The certificate is there.
    pub fn mark_certificate_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(CERTIFICATE_PROVISIONED);
    }

    /// The certificate is being provided.
    pub fn mark_certificate_not_ready(&mut self, name: &str, now: Timestamp) {
        let message = format!("Certificate {name} is not ready.");
        self.manage(now).mark_unknown(CERTIFICATE_PROVISIONED, "CertificateNotReady", &message);
    }

    /// A certificate of that name belongs to somebody else.
    pub fn mark_certificate_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = format!("There is an existing certificate {name} that we don't own.");
        self.manage(now).mark_false(CERTIFICATE_PROVISIONED, "CertificateNotOwned", &message);
    }

    /// The certificate cannot be provided.
    pub fn mark_certificate_failed(&mut self, name: &str, now: Timestamp) {
        let message = format!("Certificate {name} failed to be provisioned.");
        self.manage(now).mark_false(CERTIFICATE_PROVISIONED, "CertificateProvisionFailed", &message);
    }

    /// Plain HTTP is served while the certificate is not there.
    pub fn mark_http_downgrade(&mut self, name: &str, now: Timestamp) {
        let message = format!("Certificate {name} is not ready downgrade HTTP.");
        self.manage(now).mark_true_with_reason(CERTIFICATE_PROVISIONED, "HTTPDowngrade", &message);
    }
}
