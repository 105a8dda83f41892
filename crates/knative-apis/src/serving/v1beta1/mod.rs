//! `serving.knative.dev/v1beta1`: DomainMapping.

pub mod domain_mapping;

pub use domain_mapping::{DomainMapping, DomainMappingSpec, DomainMappingStatus, SecretTls};
