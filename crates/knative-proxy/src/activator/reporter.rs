//! What the activator tells the autoscaler: concurrency and requests of each Revision that has any, every second, and at once for the first
//! request after a pause, which is what wakes a Revision that has no Pod.
//!
//! The request that was told at once is taken off the next report, as Knative does, so that it counts once. A Revision without a request
//! for a whole second is told once more, as nothing, and then forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_rt::metrics::{Counter, Scope};
use base_rt::{Clock, Phase, Tasks};
use knative_apis::meta::Key;
use knative_apis::stat::{Stat, StatMessage};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::throttler::Throttler;
use crate::request_stats::RequestStats;

/// How often is reported.
const PERIOD: Duration = Duration::from_secs(1);

/// What has been counted of a Revision since it was last without requests.
#[derive(Debug)]
pub(super) struct Counters {
    stats: RequestStats,
    /// Whether its first request has been told and not been taken off a report yet.
    is_first_told: bool,
}

/// Counts, and tells.
pub(super) struct Reporter {
    pod_name: String,
    clock: Clock,
    started: Instant,
    stats: mpsc::Sender<StatMessage>,
    dropped: Counter,
    active: Mutex<BTreeMap<Key, Arc<Throttler>>>,
}

/// A request that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Throttler>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = counters.as_mut() {
            counters.stats.end(false, Instant::now());
        }
    }
}

impl Reporter {
    pub(super) fn new(pod_name: String, clock: Clock, stats: mpsc::Sender<StatMessage>, metrics: &Scope) -> Self {
        let dropped =
            metrics.register("stats_dropped", "Reports that the autoscaler had no room for", Counter::default());
        Self { pod_name, clock, started: Instant::now(), stats, dropped, active: Mutex::default() }
    }

    /// A request for a Revision has come. The first one is told now.
    pub(super) fn begin(&self, throttler: &Arc<Throttler>) -> Counted {
        let now = Instant::now();
        let is_first = {
            let mut counters = throttler.counters.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = counters.is_none();
            let new = || Counters { stats: RequestStats::new(now), is_first_told: true };
            counters.get_or_insert_with(new).stats.begin(false, now);
            is_first
        };
        if is_first {
            self.tell(&throttler.key, 1.0, 1.0);
            self.active().insert(throttler.key.clone(), Arc::clone(throttler));
        }
        Counted(Arc::clone(throttler))
    }

    /// Reports every second until the process has drained.
    pub(super) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let (reporter, shutdown) = (Arc::clone(self), tasks.shutdown().clone());
        tasks.spawn("activator/reporter", async move {
            let mut ticks = tokio::time::interval(PERIOD);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Drained) => return Ok(()),
                    _ = ticks.tick() => reporter.report(Instant::now()),
                }
            }
        });
    }

    fn report(&self, now: Instant) {
        let active: Vec<_> = self.active().values().map(Arc::clone).collect();
        for throttler in active {
            let (report, is_idle, told) = {
                let mut counters = throttler.counters.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(of) = counters.as_mut() else { continue };
                let report = of.stats.report(now);
                let told = f64::from(u8::from(std::mem::take(&mut of.is_first_told)));
                let is_idle = report.average == 0.0 && report.requests == 0.0;
                if is_idle {
                    *counters = None;
                    // Under the lock: a request that comes now begins anew, and is put in after this.
                    self.active().remove(&throttler.key);
                }
                (report, is_idle, told)
            };
            let told = if is_idle { 0.0 } else { told };
            self.tell(&throttler.key, (report.average - told).max(0.0), (report.requests - told).max(0.0));
        }
    }

    fn tell(&self, key: &Key, concurrency: f64, requests: f64) {
        let stat = Stat {
            pod_name: self.pod_name.clone(),
            average_concurrent_requests: concurrency,
            request_count: requests,
            process_uptime: self.started.elapsed().as_secs_f64(),
            timestamp: self.clock.now().as_second(),
            ..Stat::default()
        };
        if self.stats.try_send(StatMessage { key: key.clone(), stat }).is_err() {
            self.dropped.inc();
        }
    }

    fn active(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<Throttler>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activator::throttler::Spec;
    use base_rt::Timestamp;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_told_at_once_and_counts_once() {
        let (sender, mut told) = mpsc::channel(16);
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let reporter = Reporter::new("activator".to_owned(), clock, sender, &Scope::root());
        let revision = serde_json::from_value(json!({"spec": {"containers": []}})).unwrap();
        let throttler = Throttler::new(Key::new("default", "a"), Spec::of(&revision));
        let mut next = || told.try_recv().ok().map(|m| (m.stat.average_concurrent_requests, m.stat.request_count));
        let first = reporter.begin(&throttler);
        let second = reporter.begin(&throttler);
        assert_eq!((next(), next()), (Some((1.0, 1.0)), None));
        tokio::time::advance(PERIOD).await;
        reporter.report(Instant::now());
        assert_eq!(next(), Some((1.0, 1.0)));
        tokio::time::advance(PERIOD).await;
        reporter.report(Instant::now());
        assert_eq!(next(), Some((2.0, 0.0)));
        drop((first, second));
        tokio::time::advance(PERIOD).await;
        reporter.report(Instant::now());
        reporter.report(Instant::now());
        assert_eq!((next(), next()), (Some((0.0, 0.0)), None));
        drop(reporter.begin(&throttler));
        assert_eq!(next(), Some((1.0, 1.0)));
    }
}
