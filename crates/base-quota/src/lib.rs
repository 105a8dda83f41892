//! Amounts of resources ([`quantity`], [`amounts`]), and what an object of Kubernetes counts for in a `ResourceQuota` ([`usage`], [`scope`]).
//!
//! Whoever refuses an object for a quota and whoever reports what of it is used have to count alike; here is how. Objects are JSON, and nothing
//! here knows where they are kept.
//! **What it must not know**: how objects are stored, watched or written.
//!
//! Specified by `k8s.io/kubernetes/pkg/quota/v1/evaluator` and `k8s.io/component-helpers/resource`.

pub mod amounts;
mod json;
pub mod pod;
pub mod quantity;
pub mod scope;
pub mod usage;
