//! Bounds on what clients may have under way, so that a flood costs time and not memory.
//!
//! Requests of this process are not counted: whoever makes them is bounded already, and must not wait for strangers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{InflightLabels, Metrics};
use crate::status::{Result, StatusError};

/// A body may have so many bytes.
pub const MAX_BODY_BYTES: usize = 3 << 20;
/// So many reads at once, as kube-apiserver's default.
pub const MAX_READS: usize = 400;
/// So many writes at once, as kube-apiserver's default.
pub const MAX_WRITES: usize = 200;
/// So many watches and followed logs at once.
pub const MAX_LONG_RUNNING: usize = 8192;
/// So many sessions of `exec`, `attach` and `portforward` at once.
pub const MAX_SESSIONS: usize = 128;
/// The bodies of all requests together, until they are answered.
pub const MAX_BODIES_BYTES: usize = 24 << 20;

const RETRY_AFTER_S: u32 = 1;

/// Counts requests under way.
#[derive(Debug)]
pub(crate) struct Limits {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    long_running: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    /// In KiB.
    bodies: Arc<Semaphore>,
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Read,
    Write,
    LongRunning,
    Session,
}

impl Sort {
    fn label(self) -> InflightLabels {
        let request_kind = match self {
            Self::Read => "readOnly",
            Self::Write => "mutating",
            Self::LongRunning | Self::Session => "longRunning",
        };
        InflightLabels { request_kind }
    }
}

/// A request under way.
pub(crate) struct Ticket {
    _permit: OwnedSemaphorePermit,
    sort: Sort,
    metrics: Metrics,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.sort {
            Sort::LongRunning | Sort::Session => self.metrics.longrunning.dec(),
            sort => self.metrics.inflight.get_or_create(&sort.label()).dec(),
        };
    }
}

impl Default for Limits {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            reads: semaphore(MAX_READS),
            writes: semaphore(MAX_WRITES),
            long_running: semaphore(MAX_LONG_RUNNING),
            sessions: semaphore(MAX_SESSIONS),
            bodies: semaphore(MAX_BODIES_BYTES >> 10),
        }
    }
}

impl Limits {
    /// Lets a request in.
    ///
    /// # Errors
    /// 429 if too many are under way.
    pub(crate) fn enter(&self, sort: Sort, metrics: &Metrics) -> Result<Ticket> {
        let semaphore = match sort {
            Sort::Read => &self.reads,
            Sort::Write => &self.writes,
            Sort::LongRunning => &self.long_running,
            Sort::Session => &self.sessions,
        };
        let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() else {
            metrics.rejected.get_or_create(&sort.label()).inc();
            let mut refused = StatusError::too_many_requests(RETRY_AFTER_S);
            if sort == Sort::Session {
                refused.message = format!(
                    "there are {MAX_SESSIONS} sessions of exec, attach and port-forward already; end one first"
                );
            }
            return Err(refused);
        };
        match sort {
            Sort::LongRunning | Sort::Session => metrics.longrunning.inc(),
            sort => metrics.inflight.get_or_create(&sort.label()).inc(),
        };
        Ok(Ticket { _permit: permit, sort, metrics: metrics.clone() })
    }

    /// Waits until a body of `bytes` may be read.
    pub(crate) async fn body(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.min(MAX_BODY_BYTES).div_ceil(1024)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        Arc::clone(&self.bodies).acquire_many_owned(kib).await.ok()
    }
}
