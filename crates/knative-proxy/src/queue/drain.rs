//! Ending without losing a request: probes fail, and once no new request has come for a quiet period and none is in flight, all is drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Counts requests, and waits for their end.
#[derive(Debug)]
pub(super) struct Drainer {
    quiet: Duration,
    started: Instant,
    is_draining: AtomicBool,
    /// Whether the quiet period is over and the end is sure.
    is_over: AtomicBool,
    /// When the last request came, in milliseconds since the start.
    last_request_ms: AtomicU64,
    in_flight: AtomicUsize,
    is_empty: Notify,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Drainer>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.is_empty.notify_waiters();
        }
    }
}

impl Drainer {
    pub(super) fn new(quiet: Duration) -> Arc<Self> {
        Arc::new(Self {
            quiet,
            started: Instant::now(),
            is_draining: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            last_request_ms: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            is_empty: Notify::new(),
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        if self.is_draining() {
            self.last_request_ms.store(self.elapsed_ms(), Ordering::Release);
        }
        self.count()
    }

    fn count(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// Something has come, a probe perhaps, that may as well go elsewhere: none if it is too late for it here. The quiet period goes on.
    pub(super) fn begin_in_time(self: &Arc<Self>) -> Option<InFlight> {
        let in_flight = self.count();
        // Counted first: either it is seen here that all is over, or `emptied` sees the request.
        (!self.is_over.load(Ordering::SeqCst)).then_some(in_flight)
    }

    /// From now on requests that may go elsewhere do.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins to drain, and waits for the quiet period. Several may wait.
    pub(super) async fn drain(&self) {
        if !self.is_draining.swap(true, Ordering::AcqRel) {
            self.last_request_ms.store(self.elapsed_ms(), Ordering::Release);
        }
        loop {
            let last = Duration::from_millis(self.last_request_ms.load(Ordering::Acquire));
            let end = self.started + last + self.quiet;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Waits until no request is in flight.
    pub(super) async fn emptied(&self) {
        loop {
            let is_empty = self.is_empty.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            is_empty.await;
        }
    }

    /// It was no end: probes succeed again.
    pub(super) fn reset(&self) {
        self.is_draining.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn each_new_request_begins_the_quiet_period_anew() {
        let drainer = Drainer::new(Duration::from_secs(30));
        let begun = Instant::now();
        let (draining, requests) = (drainer.drain(), async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(drainer.begin());
        });
        futures::join!(draining, requests);
        assert_eq!(begun.elapsed().as_secs(), 50);
        assert!(drainer.is_draining());
        drainer.reset();
        assert!(!drainer.is_draining());
    }

    #[tokio::test]
    async fn what_is_in_flight_is_waited_for() {
        let drainer = Drainer::new(Duration::ZERO);
        let request = drainer.begin();
        let mut emptied = drainer.emptied().boxed();
        assert!((&mut emptied).now_or_never().is_none());
        drop(request);
        emptied.await;
    }

    #[test]
    fn after_the_end_nothing_begins_that_may_go_elsewhere() {
        let drainer = Drainer::new(Duration::ZERO);
        assert!(drainer.begin_in_time().is_some());
        drainer.end();
        assert!(drainer.begin_in_time().is_none());
        assert!(drainer.emptied().now_or_never().is_some(), "it does not count");
    }
}
