//! DomainMapping: a domain name of the user's for an addressable object. Its name is the domain.

mod defaults;
mod lifecycle;
mod types;
mod validation;

pub use lifecycle::{CERTIFICATE_PROVISIONED, DOMAIN_CLAIMED, INGRESS_READY, REFERENCE_RESOLVED};
pub use types::{DomainMapping, DomainMappingSpec, DomainMappingStatus, SecretTls};
