//! From what to what something can be: a size, or a cost. Numbers that are too large stay the largest.

/// A range of sizes or costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Span {
    /// A size of which nothing is known.
    pub(super) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    /// What holds nothing, and what [`Self::union`] begins with.
    pub(super) const NONE: Self = Self { min: u64::MAX, max: 0 };

    pub(super) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// From nothing to this.
    pub(super) const fn up_to(max: u64) -> Self {
        Self { min: 0, max }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// So much for each, rounded up.
    pub(super) fn at(self, each: f64) -> Self {
        Self { min: scaled(self.min, each), max: scaled(self.max, each) }
    }

    /// What holds both.
    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what is too large becomes the largest, as in cel-go"
)]
fn scaled(value: u64, each: f64) -> u64 {
    (value as f64 * each).ceil() as u64
}
