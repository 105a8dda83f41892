//! A Kubernetes-compatible API as one tower service.

pub mod field_error;
pub mod kinds;
pub mod names;
pub mod store;
pub mod value;
