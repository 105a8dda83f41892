//! Custom resources: CRD objects become resources like any other.
//!
//! ```text
//! CRD object ─► kinds (defaults, validation) ─► store ─► controller: NamesAccepted, Established
//!                                                     └──► Definition ─► one Resource per served version (registry)
//! ```
//! A CRD is served once it is Established. Its objects are kept in one version, pruned and defaulted by its schema, and others show of them what they
//! know, or what a webhook makes of them ([`conversion`]). On reading they are pruned and defaulted again if the schema has changed since. Deleting a CRD removes its instances first (finalizer `customresourcecleanup.apiextensions.k8s.io`). What
//! schemas mean for objects, rules in CEL included, stands in [`schema`](crate::schema); what a CRD itself may say in [`validate`].

pub(crate) mod controller;
pub(crate) mod conversion;
mod custom;
mod definition;
pub(crate) mod json_path;
mod scale;
mod status;
pub(crate) mod validate;

pub(crate) use conversion::Conversion;
pub(crate) use custom::CustomVersion;
pub(crate) use definition::{Definition, Names, edition, has_condition, prefer};
pub(crate) use status::{Condition, set_condition};

/// Keeps a CRD until its instances are gone.
pub(crate) const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
