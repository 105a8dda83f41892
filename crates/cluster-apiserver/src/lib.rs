//! A Kubernetes-compatible API as one tower service.

pub mod facts;
pub mod field_error;
pub mod kinds;
pub mod names;
pub mod proto;
pub mod quantity;
pub mod store;
pub mod strict;
pub mod value;
