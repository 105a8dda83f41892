//! Route: which Revisions receive which share of the traffic of a host.

mod defaults;
mod lifecycle;
#[cfg(test)]
mod tests;
mod types;
mod validation;

pub(crate) use defaults::traffic as default_traffic;
pub use lifecycle::{
    ALL_TRAFFIC_ASSIGNED, CERTIFICATE_PROVISIONED, EXTERNAL_DOMAIN_TLS_NOT_ENABLED, INGRESS_READY,
    TLS_NOT_ENABLED_FOR_CLUSTER_LOCAL,
};
pub use types::{Route, RouteSpec, RouteStatus, TrafficTarget};
pub(crate) use validation::traffic as validate_traffic;
