//! Shutdown is a value with phases; whoever holds a [`Shutdown`] can wait for one.
//!
//! ```text
//! Running ──► Lame ──────────► Drained ─────────────► Stopped
//!             readiness fails   requests, deliveries   log and store
//!             and listeners     and keys in hand       have flushed
//!             stop accepting    have finished
//! ```
//! A phase is never left backwards. Dropping the [`ShutdownHandle`] means `Stopped`: nothing waits for an owner that is gone.

use crate::watch;

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal operation.
    Running,
    /// Readiness fails, listeners stop accepting; what is in flight goes on.
    Lame,
    /// What was in flight has finished or met its grace period; controllers finish the key in hand and end.
    Drained,
    /// Everything ends now; the log and the store have been flushed.
    Stopped,
}

/// The observing side: cheap to clone, given to every task.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// The deciding side: one per process, held by its main function.
#[derive(Debug)]
pub struct ShutdownHandle(watch::Sender<Phase>);

impl Shutdown {
    /// A running process's shutdown and the handle that moves it.
    pub fn new() -> (ShutdownHandle, Shutdown) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (ShutdownHandle(sender), Shutdown(receiver))
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        if self.0.is_closed() { Phase::Stopped } else { *self.0.borrow() }
    }

    /// Waits until `phase` or a later one is reached. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // An error means that the handle is gone, which is `Stopped`.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}

impl ShutdownHandle {
    /// Moves to `phase`. Moving backwards does nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_move_forward() {
        let (handle, shutdown) = Shutdown::new();
        handle.advance(Phase::Drained);
        handle.advance(Phase::Lame);
        assert_eq!(shutdown.phase(), Phase::Drained);
        shutdown.reached(Phase::Lame).await;
    }

    #[tokio::test]
    async fn a_dropped_handle_is_a_stop() {
        let (handle, shutdown) = Shutdown::new();
        drop(handle);
        shutdown.reached(Phase::Stopped).await;
        assert_eq!(shutdown.phase(), Phase::Stopped);
    }
}
