//! Panic: while a surge lasts, pods are only added.

use jiff::{SignedDuration, Timestamp};

/// Whether a surge lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panic {
    /// No.
    #[default]
    Stable,
    /// Yes.
    Panic {
        /// When the load last exceeded the threshold.
        since: Timestamp,
        /// The most pods that were wanted meanwhile; there are not fewer until it is over.
        floor: i32,
    },
}

impl Panic {
    /// A decider begins in panic if there are several pods already: after a restart of the
    /// autoscaler nothing is known of their load, so they stay until a window of it is.
    pub fn begin(ready: i32, now: Timestamp) -> Self {
        if ready > 1 { Self::Panic { since: now, floor: ready } } else { Self::Stable }
    }

    /// The next state: a load over the threshold begins or prolongs panic, a stable window without
    /// ends it.
    #[must_use]
    pub fn next(self, is_over: bool, stable_window: SignedDuration, now: Timestamp) -> Self {
        match self {
            Self::Stable if is_over => Self::Panic { since: now, floor: 0 },
            Self::Panic { floor, .. } if is_over => Self::Panic { since: now, floor },
            Self::Panic { since, .. } if now.duration_since(since) > stable_window => Self::Stable,
            same => same,
        }
    }

    /// Raises the floor to what is wanted, and gives what there shall be.
    pub fn hold(&mut self, wanted: i32) -> i32 {
        match self {
            Self::Stable => wanted,
            Self::Panic { floor, .. } => {
                *floor = wanted.max(*floor);
                *floor
            }
        }
    }

    /// Whether a surge lasts.
    pub fn is_panicking(self) -> bool {
        matches!(self, Self::Panic { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let window = SignedDuration::from_secs(60);
        let panic = |since, floor| Panic::Panic { since: at(since), floor };
        for (before, is_over, now, after) in [
            (Panic::Stable, false, 0, Panic::Stable),
            (Panic::Stable, true, 5, panic(5, 0)),
            (panic(5, 7), true, 9, panic(9, 7)),
            (panic(5, 7), false, 65, panic(5, 7)),
            (panic(5, 7), false, 66, Panic::Stable),
        ] {
            assert_eq!(before.next(is_over, window, at(now)), after);
        }
        assert_eq!(Panic::begin(1, at(0)), Panic::Stable);
        assert_eq!(Panic::begin(2, at(0)), panic(0, 2));
        let mut state = panic(0, 3);
        assert_eq!((state.hold(2), state.hold(5), state.hold(4)), (3, 5, 5));
        assert_eq!(Panic::Stable.hold(4), 4);
    }
}
