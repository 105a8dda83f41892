//! Kinds without behaviour of their own.

use super::Strategy;

/// Every hook as it is by default.
pub(super) struct Plain;

impl Strategy for Plain {}
