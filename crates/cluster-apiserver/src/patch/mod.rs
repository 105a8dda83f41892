//! Ways to lay a patch over an object: JSON patch within bounds, merge patch, and the strategic merge patch that only Kubernetes has.

pub(crate) mod json;
pub mod merge;
pub mod strategic;
