//! Which conditions make the one that sums up.

use super::{READY, Severity};

/// The condition that sums up, and those it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionSet {
    happy: &'static str,
    dependents: &'static [&'static str],
}

impl ConditionSet {
    /// The set of an object that goes on existing: it is `Ready` or not.
    pub const fn living(dependents: &'static [&'static str]) -> Self {
        Self { happy: READY, dependents }
    }

    /// The type of the condition that sums up.
    pub const fn happy(&self) -> &'static str {
        self.happy
    }

    /// The types it depends on.
    pub const fn dependents(&self) -> &'static [&'static str] {
        self.dependents
    }

    pub(super) fn is_dependent(&self, type_: &str) -> bool {
        type_ != self.happy && self.dependents.contains(&type_)
    }

    pub(super) fn severity(&self, type_: &str) -> Severity {
        if type_ == self.happy || self.dependents.contains(&type_) { Severity::Error } else { Severity::Info }
    }
}
