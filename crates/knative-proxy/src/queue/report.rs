//! What queue-proxy tells the autoscaler: once a second into a channel in the same process, and on port 9090 for whoever scrapes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_net::{Body, Response};
use base_rt::watch;
use base_rt::{Clock, Phase, Tasks};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use knative_apis::meta::Key;
use knative_apis::stat::{Stat, StatMessage};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::request_stats::RequestStats;

/// How often is reported.
const PERIOD: Duration = Duration::from_secs(1);

/// Counts requests of a Pod.
#[derive(Debug)]
pub(super) struct Reporter {
    revision: Key,
    pod: String,
    clock: Clock,
    started: Instant,
    counters: Mutex<RequestStats>,
    latest: watch::Sender<Stat>,
}

/// A request that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    reporter: Arc<Reporter>,
    is_proxied: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.reporter.counters().end(self.is_proxied, Instant::now());
    }
}

impl Reporter {
    pub(super) fn new(revision: Key, pod: String, clock: Clock) -> Arc<Self> {
        let now = Instant::now();
        let latest = watch::Sender::new(Stat { pod_name: pod.clone(), ..Stat::default() });
        Arc::new(Self { revision, pod, clock, started: now, counters: Mutex::new(RequestStats::new(now)), latest })
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>, is_proxied: bool) -> Counted {
        self.counters().begin(is_proxied, Instant::now());
        Counted { reporter: Arc::clone(self), is_proxied }
    }

    /// Reports every second until `tasks` stop.
    pub(super) fn start(self: &Arc<Self>, stats: Option<mpsc::Sender<StatMessage>>, tasks: &Tasks) {
        let (reporter, shutdown) = (Arc::clone(self), tasks.shutdown().clone());
        tasks.spawn("queue-proxy/reporter", async move {
            let mut ticks = tokio::time::interval(PERIOD);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Drained) => return Ok(()),
                    _ = ticks.tick() => {}
                }
                let stat = reporter.report();
                if let Some(stats) = &stats {
                    // What does not fit is made up for by the next second.
                    let _ = stats.try_send(StatMessage { key: reporter.revision.clone(), stat: stat.clone() });
                }
                reporter.latest.send_replace(stat);
            }
        });
    }

    fn report(&self) -> Stat {
        let report = self.counters().report(Instant::now());
        Stat {
            pod_name: self.pod.clone(),
            average_concurrent_requests: report.average,
            average_proxied_concurrent_requests: report.average_proxied,
            request_count: report.requests,
            proxied_request_count: report.proxied_requests,
            process_uptime: self.started.elapsed().as_secs_f64(),
            timestamp: self.clock.now().as_second(),
        }
    }

    /// The latest report, as the autoscaler scrapes it.
    pub(super) fn answer(&self) -> Response {
        let mut response = Response::new(Body::from(encode(&self.latest.borrow())));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
        response
    }

    fn counters(&self) -> MutexGuard<'_, RequestStats> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knative's `Stat` message: a string, five doubles, an integer; what is zero is left out.
fn encode(stat: &Stat) -> Vec<u8> {
    let mut out = Vec::with_capacity(stat.pod_name.len() + 64);
    if !stat.pod_name.is_empty() {
        out.push(0x0a);
        put_varint(&mut out, stat.pod_name.len() as u64);
        out.extend_from_slice(stat.pod_name.as_bytes());
    }
    let doubles = [
        stat.average_concurrent_requests,
        stat.average_proxied_concurrent_requests,
        stat.request_count,
        stat.proxied_request_count,
        stat.process_uptime,
    ];
    for (field, value) in (2_u8..).zip(doubles) {
        if value != 0.0 {
            out.push(field << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    if stat.timestamp != 0 {
        out.push(7 << 3);
        put_varint(&mut out, stat.timestamp.cast_unsigned());
    }
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_on_the_wire() {
        assert_eq!(encode(&Stat::default()), Vec::<u8>::new());
        let stat = Stat { pod_name: "a".to_owned(), request_count: 1.0, timestamp: 300, ..Stat::default() };
        let expected = [&[0x0a, 1, b'a', 0x21][..], &1.0_f64.to_le_bytes(), &[0x38, 0xac, 2]].concat();
        assert_eq!(encode(&stat), expected);
    }
}
