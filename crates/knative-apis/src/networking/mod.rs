//! The kinds of `networking.internal.knative.dev/v1alpha1`: what a Route asks of a network.
//!
//! [`Ingress`] says which hosts lead to which revisions, [`ServerlessService`] whether a revision's
//! Service leads to its pods or to the activator, [`Certificate`] asks for a TLS certificate, and
//! [`ClusterDomainClaim`] gives a domain name to one namespace.

mod certificate;
mod domain_claim;
mod ingress;
mod serverless_service;

pub use certificate::{Certificate, CertificateSpec, CertificateStatus, Http01Challenge};
pub use domain_claim::{ClusterDomainClaim, ClusterDomainClaimSpec};
pub use ingress::{
    HeaderMatch, HttpIngressPath, HttpIngressRuleValue, HttpOption, Ingress, IngressBackendSplit, IngressRule,
    IngressSpec, IngressStatus, IngressTls, LOAD_BALANCER_READY, LoadBalancerIngressStatus, LoadBalancerStatus,
    NETWORK_CONFIGURED, Visibility,
};
pub use serverless_service::{
    ACTIVATOR_ENDPOINTS_POPULATED, ENDPOINTS_POPULATED, ServerlessService, ServerlessServiceMode,
    ServerlessServiceSpec, ServerlessServiceStatus,
};

use crate::field_error::{CURRENT_FIELD, FieldErrors, invalid_value, missing_field};

crate::open_enum::open_enum! {
    /// The application protocol of a revision.
    Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 without TLS.
        H2c = "h2c",
    }
}

impl Protocol {
    /// What is wrong with it.
    pub fn validate(&self) -> FieldErrors {
        match self {
            Self::Http1 | Self::H2c => FieldErrors::none(),
            Self::Unset => missing_field(CURRENT_FIELD),
            Self::Other(text) => invalid_value(text, CURRENT_FIELD),
        }
    }
}
