//! Ownership of fields: `metadata.managedFields`.
//!
//! A field belongs to the manager that set it last: whoever changes a field of an object owns it from then on, alone.
//!
//! ```text
//! element ─► set ─► managed ─► owners
//! schema ─► compare ─────────────┘
//! ```
//! All of this is pure. [`crate::writes`] calls it: an object's managedFields are taken apart, updated and put back around the other steps of a
//! write.

pub(crate) mod compare;
pub(crate) mod element;
pub(crate) mod managed;
pub(crate) mod owners;
pub(crate) mod schema;
pub(crate) mod set;

pub(crate) use element::Element;
pub(crate) use managed::{Managed, Manager, Owned};
pub(crate) use owners::{OneVersion, Ownership, Reach, Versions};
pub(crate) use schema::Place;
pub(crate) use set::FieldSet;
