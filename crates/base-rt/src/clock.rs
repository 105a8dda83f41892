//! The one place that reads the time of day.
//!
//! Pure code takes a [`Timestamp`] as an argument; whoever calls it asks a [`Clock`]. In production the clock is the system's; in a
//! simulation it follows tokio's (paused) time, so that a virtual hour passes in microseconds and objects' timestamps agree with it.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A source of the current time. Cheap to copy; hand it down, do not make a second one.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    System,
    Tokio { base: Timestamp, origin: Instant },
}

impl Clock {
    /// The system's clock. It may jump when an administrator or NTP sets it.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `base` now and moves with tokio's time, paused or not. For simulations.
    pub fn starting_at(base: Timestamp) -> Self {
        Self(Source::Tokio { base, origin: Instant::now() })
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
            Source::System => Timestamp::now(),
            Source::Tokio { base, origin } => SignedDuration::try_from(origin.elapsed())
                .ok()
                .and_then(|elapsed| base.checked_add(elapsed).ok())
                .unwrap_or(Timestamp::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_with_tokio() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().as_second(), 3600);
    }
}
