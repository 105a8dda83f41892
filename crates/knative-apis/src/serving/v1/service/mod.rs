//! Service: the whole life of a workload in one object, a Configuration and a Route of its name.

mod defaults;
mod lifecycle;
#[cfg(test)]
mod tests;
mod types;
mod validation;

pub use lifecycle::{CONFIGURATIONS_READY, ROUTES_READY};
pub use types::{Service, ServiceSpec, ServiceStatus};
