//! Bounds on what clients may have under way, so that a flood costs time and not memory, and costs it whom it comes from.
//!
//! Every kind of request has so many seats. A user has a quarter of them, and waits for more in a queue of their own ([`fair`](super::fair));
//! who waits too long, or finds the queue full, is refused with 429 and comes again. Administrators (`system:masters`) have seats of their own,
//! all of which one may have, so that whoever mends a flooded server gets in. Requests of this process, the node's among them, are not counted:
//! whoever makes them is bounded already, and must not wait for strangers.

use std::time::Duration;

use super::fair::{Seats, Taken};
use crate::identity::{Identity, MASTERS};
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
/// The bodies of all requests together, until they are answered; administrators have as much again.
pub const MAX_BODIES_BYTES: usize = 12 << 20;
/// A user may have this part of what there is.
pub const USER_SHARE: usize = 4;
/// So many reads or writes of one user wait.
pub const MAX_WAITING: usize = 100;
/// So long may one wait: a quarter of what a request may take, as kube-apiserver's do.
pub const MAX_WAIT: Duration = Duration::from_secs(15);

const RETRY_AFTER_S: u32 = 1;

/// Counts requests under way.
#[derive(Debug)]
pub(crate) struct Limits {
    users: Pools,
    masters: Pools,
}

/// The seats of each kind.
#[derive(Debug)]
struct Pools {
    reads: Seats,
    writes: Seats,
    long_running: Seats,
    sessions: Seats,
    /// In KiB.
    bodies: Seats,
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
    _seat: Taken,
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

impl Pools {
    /// With a user's share of each kind, and a queue for what ends soon.
    fn new(share: usize, queue: usize) -> Self {
        let seats = |total: usize, queue| Seats::new(total, total / share, queue);
        Self {
            reads: seats(MAX_READS, queue),
            writes: seats(MAX_WRITES, queue),
            long_running: seats(MAX_LONG_RUNNING, 0),
            sessions: seats(MAX_SESSIONS, 0),
            // Who waits for room has a seat among the writes, so that these are bounded too.
            bodies: seats(MAX_BODIES_BYTES >> 10, MAX_WRITES),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { users: Pools::new(USER_SHARE, MAX_WAITING), masters: Pools::new(1, 0) }
    }
}

impl Limits {
    fn of(&self, who: &Identity) -> &Pools {
        if who.is_in(MASTERS) { &self.masters } else { &self.users }
    }

    /// Lets a request in, when it is its user's turn.
    ///
    /// # Errors
    /// 429 if too many are under way for too long.
    pub(crate) async fn enter(&self, who: &Identity, sort: Sort, metrics: &Metrics) -> Result<Ticket> {
        let pools = self.of(who);
        let seats = match sort {
            Sort::Read => &pools.reads,
            Sort::Write => &pools.writes,
            Sort::LongRunning => &pools.long_running,
            Sort::Session => &pools.sessions,
        };
        let Ok(Ok(seat)) = tokio::time::timeout(MAX_WAIT, seats.take(&who.username, 1)).await else {
            metrics.rejected.get_or_create(&sort.label()).inc();
            return Err(refused(sort));
        };
        match sort {
            Sort::LongRunning | Sort::Session => metrics.longrunning.inc(),
            sort => metrics.inflight.get_or_create(&sort.label()).inc(),
        };
        Ok(Ticket { _seat: seat, sort, metrics: metrics.clone() })
    }

    /// Waits until a body of `bytes` may be read.
    ///
    /// # Errors
    /// 429 if more wait than may.
    pub(crate) async fn body(&self, who: &Identity, bytes: usize) -> Result<Taken> {
        let kib = bytes.min(MAX_BODY_BYTES).div_ceil(1024);
        let taken = self.of(who).bodies.take(&who.username, kib).await;
        taken.map_err(|_| StatusError::too_many_requests(RETRY_AFTER_S))
    }
}

fn refused(sort: Sort) -> StatusError {
    let mut refused = StatusError::too_many_requests(RETRY_AFTER_S);
    if sort == Sort::Session {
        refused.message =
            "there are too many sessions of exec, attach and port-forward already; end one first".to_owned();
    }
    refused
}
