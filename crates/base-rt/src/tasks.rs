//! Every task of ours has a name and an owner; [`Tasks`] is the only way to spawn one.
//!
//! - [`Tasks::spawn`]: a task that serves as long as the process does. If it ends before the shutdown has begun, whether by an error, a
//!   panic or by returning, that is a failure of the process: [`Tasks::failure`] yields its name and error chain and main ends.
//! - [`Tasks::spawn_worker`]: the same, and what it has in hand at `Drained` is waited for by [`Tasks::worked_off`], before the store closes.
//! - [`Tasks::spawn_transient`]: a task that ends by itself (a connection, one delivery). A panic in it is logged and counted, and harms
//!   nothing else.
//!
//! All kinds are waited for by [`Tasks::finished`]. A task is boxed, so that what runs tasks is compiled once and not for each.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::watch;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::shutdown::{Phase, Shutdown};

/// What a long-lived task may fail with.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Why the process has to end: a long-lived task ended when it should not.
#[derive(Clone, Debug, thiserror::Error)]
#[error("task {name} {reason}")]
pub struct TaskFailure {
    /// The task's name, as given to [`Tasks::spawn`].
    pub name: String,
    /// `ended`, `panicked: …` or `failed: …` with the error's chain.
    pub reason: String,
}

/// The owner of a process's tasks. Clones share one set.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    workers: TaskTracker,
    shutdown: Shutdown,
    failed: Arc<watch::Sender<Option<TaskFailure>>>,
    panics: Arc<AtomicU64>,
}

impl Tasks {
    /// An empty set whose tasks may end once `shutdown` has begun.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tracker: TaskTracker::new(),
            workers: TaskTracker::new(),
            shutdown,
            failed: Arc::new(watch::Sender::new(None)),
            panics: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The shutdown that these tasks obey.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task that lasts as long as the process. `name` is a path such as `activator/throttler`.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F) -> AbortHandle
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.start_lasting(name.into(), Box::pin(task))
    }

    /// Starts a task as [`Tasks::spawn`] does, which ends at `Drained` once it has finished what it has in hand.
    pub fn spawn_worker<F>(&self, name: impl Into<Cow<'static, str>>, task: F) -> AbortHandle
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.spawn(name, self.workers.track_future(task))
    }

    /// Starts a task that ends by itself. Its panic is contained.
    pub fn spawn_transient<F>(&self, name: impl Into<Cow<'static, str>>, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start_transient(name.into(), Box::pin(task))
    }

    fn start_lasting(&self, name: Cow<'static, str>, task: BoxFuture<'static, Result<(), TaskError>>) -> AbortHandle {
        let shutdown = self.shutdown.clone();
        let failed = Arc::clone(&self.failed);
        self.start(async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if shutdown.phase() > Phase::Running => return,
                Ok(Ok(())) => "ended".to_owned(),
                Ok(Err(error)) => format!("failed: {}", crate::error_chain(error.as_ref())),
                Err(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
            };
            tracing::error!(task = %name, reason, "task ended");
            failed.send_if_modified(|first| {
                let is_first = first.is_none();
                if is_first {
                    *first = Some(TaskFailure { name: name.into_owned(), reason });
                }
                is_first
            });
        })
    }

    fn start_transient(&self, name: Cow<'static, str>, task: BoxFuture<'static, ()>) -> AbortHandle {
        let panics = Arc::clone(&self.panics);
        self.start(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(task = %name, reason = panic_text(panic.as_ref()), "transient task panicked");
            }
        })
    }

    /// How many transient tasks have panicked so far.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Waits for the first failure of a long-lived task. Pends for ever while there is none.
    pub async fn failure(&self) -> TaskFailure {
        let mut receiver = self.failed.subscribe();
        loop {
            if let Some(failure) = receiver.borrow_and_update().clone() {
                return failure;
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until every worker has ended. No worker may be started afterwards.
    pub async fn worked_off(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    /// Waits until every task, of whichever kind, has ended. No task may be started afterwards.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        tokio::spawn(self.tracker.track_future(task)).abort_handle()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_lived_task_that_ends_is_a_failure() {
        let (_handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        tasks.spawn("a/b", async { Err("no disk".into()) });
        assert_eq!(tasks.failure().await.to_string(), "task a/b failed: no disk");
    }

    #[tokio::test]
    async fn ending_after_the_shutdown_began_is_fine() {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("server", async move {
            shutdown.reached(Phase::Lame).await;
            Ok(())
        });
        handle.advance(Phase::Lame);
        tasks.finished().await;
        assert!(tasks.failure().now_or_never().is_none());
    }

    #[tokio::test]
    async fn workers_are_waited_for_alone() {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let until = |phase| {
            let shutdown = shutdown.clone();
            async move {
                shutdown.reached(phase).await;
                Ok(())
            }
        };
        tasks.spawn("watch", until(Phase::Stopped));
        tasks.spawn_worker("controller", until(Phase::Drained));
        assert!(tasks.worked_off().now_or_never().is_none());
        handle.advance(Phase::Drained);
        tasks.worked_off().await;
        assert!(tasks.finished().now_or_never().is_none());
        handle.advance(Phase::Stopped);
        tasks.finished().await;
    }

    #[tokio::test]
    async fn a_transient_panic_is_contained() {
        let (_handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        tasks.spawn_transient("connection", async { panic!("bad bytes") });
        tasks.finished().await;
        assert_eq!(tasks.panics(), 1);
    }
}
