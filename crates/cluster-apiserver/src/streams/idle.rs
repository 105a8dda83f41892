//! Whether anything goes over a session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long nothing may go over a session; a kubelet's default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// When something went over a session last. Clones are the same session's.
#[derive(Clone, Debug)]
pub(super) struct Idle(Arc<Mutex<Instant>>);

impl Idle {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something goes.
    pub(super) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing has gone for too long.
    pub(super) async fn over(&self) {
        loop {
            let due = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_TIMEOUT;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_once_nothing_has_gone_for_long() {
        let idle = Idle::new();
        let begun = Instant::now();
        let half = IDLE_TIMEOUT / 2;
        let touching = async {
            tokio::time::sleep(half).await;
            idle.touch();
        };
        tokio::join!(idle.over(), touching);
        assert_eq!(begun.elapsed().as_secs(), (IDLE_TIMEOUT + half).as_secs());
    }
}
