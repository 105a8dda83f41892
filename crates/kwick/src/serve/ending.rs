//! How a process that serves ends: what asks it to, and the order, each step within bounds.

use std::time::Duration;

use anyhow::{Context, Result};
use base_rt::{Phase, ShutdownHandle, Tasks};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long requests in flight may take once no new ones are accepted.
const DRAIN: Duration = Duration::from_secs(15);
/// How long tasks may take to end.
const SETTLE: Duration = Duration::from_secs(5);

/// The signals that end a process. They are noticed from when this value is there.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }
}

/// Accepts nothing any more, waits until `in_flight` has finished, then until the controllers have finished the keys in hand; for at most
/// 20 seconds. What is needed for that may be closed afterwards.
pub(crate) async fn drain(handle: &ShutdownHandle, tasks: &Tasks, in_flight: impl Future<Output = ()>) {
    handle.advance(Phase::Lame);
    if tokio::time::timeout(DRAIN, in_flight).await.is_err() {
        tracing::warn!("some requests have not finished");
    }
    handle.advance(Phase::Drained);
    if tokio::time::timeout(SETTLE, tasks.worked_off()).await.is_err() {
        tracing::warn!("some controllers have not finished what they have in hand");
    }
}

/// Ends every task, for at most 5 seconds.
pub(crate) async fn stop(handle: &ShutdownHandle, tasks: &Tasks) {
    handle.advance(Phase::Stopped);
    let _ = tokio::time::timeout(SETTLE, tasks.finished()).await;
}

#[cfg(test)]
mod tests {
    use base_rt::Shutdown;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_and_controllers_without_end_do_not_hold_it_up() {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn_worker("stuck", std::future::pending());
        drain(&handle, &tasks, std::future::pending()).await;
        assert_eq!(shutdown.phase(), Phase::Drained);
        stop(&handle, &tasks).await;
        assert_eq!(shutdown.phase(), Phase::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn controllers_work_until_the_requests_have_finished() {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let of_worker = shutdown.clone();
        tasks.spawn_worker("controller", async move {
            of_worker.reached(Phase::Drained).await;
            Ok(())
        });
        drain(&handle, &tasks, async {
            shutdown.reached(Phase::Lame).await;
            assert_eq!(shutdown.phase(), Phase::Lame);
        })
        .await;
        tasks.worked_off().await;
    }
}
