//! Ownership of fields: `metadata.managedFields`, and server-side apply, which goes by it.
//!
//! A field belongs to the managers that set it last. Whoever changes a field of an object owns it from then on, alone; whoever *applies* an
//! object owns what it names, together with whoever applies the same values. Applying what somebody else owns and differs is a conflict;
//! what an applier named before and names no more goes away, unless somebody else owns it.
//!
//! ```text
//! element ─► set ─► lazy ─► managed ─────► owners: update, apply
//! schema ─► compare, of, merge, remove ──────┘
//! ```
//! All of this is pure. [`crate::writes`] calls it: an object's managedFields are taken apart, updated and put back around the other steps of a
//! write.

pub(crate) mod compare;
pub(crate) mod element;
pub(crate) mod last_applied;
pub(crate) mod lazy;
pub(crate) mod managed;
mod merge;
pub(crate) mod of;
pub(crate) mod owners;
mod remove;
pub(crate) mod schema;
pub(crate) mod set;

pub(crate) use element::Element;
pub(crate) use managed::{Managed, Manager, Owned};
pub(crate) use of::errors_of;
pub(crate) use owners::{Applied, Conflicts, OneVersion, Ownership, Reach, Updated, Versions};
pub(crate) use schema::Place;
pub(crate) use set::FieldSet;
