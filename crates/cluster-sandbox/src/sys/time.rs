//! Moments on a clock that never jumps, for the spawner's deadlines (it has no async runtime whose clock it could use).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(Duration::try_from(now).unwrap_or_default())
    }

    /// The moment `duration` after this one.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long until this moment; zero once it has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Whether this moment has passed.
    pub(crate) fn is_past(self) -> bool {
        self.remaining().is_zero()
    }
}
