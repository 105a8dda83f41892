//! What the activator tells the autoscaler: concurrency and requests of each Revision that has any, every second; at once of the first request
//! after a pause, which is what wakes a Revision that has no Pod; and soon when the requests in flight have doubled since they were last
//! told, so that a burst need not wait for the second to pass.
//!
//! What was told early is taken off the next report, as Knative does with the first request, so that everything counts once and the
//! autoscaler's windows say the same as without: sooner, not more. A Revision without a request for a whole second is told once more, as
//! nothing, and then forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_rt::metrics::{Counter, Scope};
use base_rt::{Clock, Phase, Tasks};
use knative_apis::meta::Key;
use knative_apis::stat::{Stat, StatMessage};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::throttler::Throttler;
use crate::request_stats::RequestStats;

/// How often is reported.
const PERIOD: Duration = Duration::from_secs(1);

/// How long after a surge began it is told: time for all of it to come, and a bound on how often one is told.
const SURGE_PERIOD: Duration = Duration::from_millis(50);
/// How many times as many requests in flight as were told are a surge.
const SURGE: f64 = 2.0;

/// What has been counted of a Revision since it was last without requests.
#[derive(Debug)]
pub(super) struct Counters {
    stats: RequestStats,
    /// Requests in flight that the autoscaler reckons with.
    known: f64,
    /// What was told since the last report, to be taken off the next: concurrency, requests.
    early: (f64, f64),
    /// Whether a surge is to be told.
    is_surging: bool,
}

impl Counters {
    /// Before the first request, of which will be told at once.
    fn first(now: Instant) -> Self {
        Self { stats: RequestStats::new(now), known: 1.0, early: (1.0, 1.0), is_surging: false }
    }

    /// Whether a surge begins with the request that has come.
    fn begins_surge(&mut self) -> bool {
        let begins = !self.is_surging && self.stats.in_flight() >= SURGE * self.known.max(1.0);
        self.is_surging |= begins;
        begins
    }

    /// Concurrency to be told beyond what is known; none if there is no surge.
    fn report_surge(&mut self) -> Option<f64> {
        let more = self.stats.in_flight() - self.known;
        if !std::mem::take(&mut self.is_surging) || more <= 0.0 {
            return None;
        }
        self.known += more;
        self.early.0 += more;
        Some(more)
    }

    /// Whether nothing has happened, and the concurrency and requests to be told.
    fn report(&mut self, now: Instant) -> (bool, (f64, f64)) {
        let report = self.stats.report(now);
        let is_idle = report.average == 0.0 && report.requests == 0.0;
        let (concurrency, requests) = std::mem::take(&mut self.early);
        self.known = report.average.max(self.stats.in_flight());
        (is_idle, ((report.average - concurrency).max(0.0), (report.requests - requests).max(0.0)))
    }
}

/// Counts, and tells.
pub(super) struct Reporter {
    pod_name: String,
    clock: Clock,
    started: Instant,
    stats: mpsc::Sender<StatMessage>,
    dropped: Counter,
    active: Mutex<BTreeMap<Key, Arc<Throttler>>>,
    surge: Notify,
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
        Self {
            pod_name,
            clock,
            started: Instant::now(),
            stats,
            dropped,
            active: Mutex::default(),
            surge: Notify::new(),
        }
    }

    /// A request for a Revision has come. The first one is told now, a surge soon.
    pub(super) fn begin(&self, throttler: &Arc<Throttler>) -> Counted {
        let now = Instant::now();
        let (is_first, is_surge) = {
            let mut counters = throttler.counters.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = counters.is_none();
            let of = counters.get_or_insert_with(|| Counters::first(now));
            of.stats.begin(false, now);
            (is_first, of.begins_surge())
        };
        if is_first {
            self.tell(&throttler.key, (1.0, 1.0));
            self.active().insert(throttler.key.clone(), Arc::clone(throttler));
        }
        if is_surge {
            self.surge.notify_one();
        }
        Counted(Arc::clone(throttler))
    }

    /// Reports every second, and of surges in between, until the process has drained.
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
                    () = reporter.surge.notified() => {
                        tokio::time::sleep(SURGE_PERIOD).await;
                        reporter.report_surges();
                    }
                }
            }
        });
    }

    fn report(&self, now: Instant) {
        for throttler in self.all_active() {
            let told = {
                let mut counters = throttler.counters.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(of) = counters.as_mut() else { continue };
                let (is_idle, told) = of.report(now);
                if is_idle {
                    *counters = None;
                    // Under the lock: a request that comes now begins anew, and is put in after this.
                    self.active().remove(&throttler.key);
                }
                told
            };
            self.tell(&throttler.key, told);
        }
    }

    fn report_surges(&self) {
        for throttler in self.all_active() {
            let more = {
                let mut counters = throttler.counters.lock().unwrap_or_else(PoisonError::into_inner);
                counters.as_mut().and_then(Counters::report_surge)
            };
            more.into_iter().for_each(|more| self.tell(&throttler.key, (more, 0.0)));
        }
    }

    fn all_active(&self) -> Vec<Arc<Throttler>> {
        self.active().values().map(Arc::clone).collect()
    }

    fn tell(&self, key: &Key, (concurrency, requests): (f64, f64)) {
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

    fn rig() -> (Reporter, Arc<Throttler>, impl FnMut() -> Option<(f64, f64)>) {
        let (sender, mut told) = mpsc::channel(16);
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let reporter = Reporter::new("activator".to_owned(), clock, sender, &Scope::root());
        let revision = serde_json::from_value(json!({"spec": {"containers": []}})).unwrap();
        let throttler = Throttler::new(Key::new("default", "a"), Spec::of(&revision, false));
        let next = move || told.try_recv().ok().map(|m| (m.stat.average_concurrent_requests, m.stat.request_count));
        (reporter, throttler, next)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_told_at_once_and_counts_once() {
        let (reporter, throttler, mut next) = rig();
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

    #[tokio::test(start_paused = true)]
    async fn a_surge_is_told_soon_and_counts_once() {
        let (reporter, throttler, mut next) = rig();
        let (handle, shutdown) = base_rt::Shutdown::new();
        let reporter = Arc::new(reporter);
        reporter.start(&Tasks::new(shutdown));
        let begin = |count: u32| (0..count).map(|_| reporter.begin(&throttler)).collect::<Vec<_>>();
        // The reporter's first tick is over.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut requests = begin(100);
        assert_eq!((next(), next()), (Some((1.0, 1.0)), None));
        tokio::time::sleep(SURGE_PERIOD * 2).await;
        assert_eq!((next(), next()), (Some((99.0, 0.0)), None));
        requests.extend(begin(99));
        tokio::time::sleep(SURGE_PERIOD * 2).await;
        assert_eq!(next(), None, "not twice as many");
        requests.extend(begin(1));
        tokio::time::sleep(SURGE_PERIOD * 2).await;
        assert_eq!((next(), next()), (Some((100.0, 0.0)), None));
        tokio::time::sleep(PERIOD / 2).await;
        assert_eq!((next(), next()), (Some((0.0, 199.0)), None), "it was told already");
        tokio::time::sleep(PERIOD).await;
        assert_eq!((next(), next()), (Some((200.0, 0.0)), None));
        drop((requests, handle));
    }
}
