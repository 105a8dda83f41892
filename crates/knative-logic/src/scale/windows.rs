//! The four windows of a revision: concurrency and requests, each stable and in panic.

use super::{ScalingMetric, window::Window};
use jiff::{SignedDuration, Timestamp};
use knative_apis::annotations::Aggregation;
use knative_apis::autoscaling::Metric;
use knative_apis::stat::Stat;

/// What was measured, over the stable and the panic window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages {
    /// Over the stable window.
    pub stable: f64,
    /// Over the panic window.
    pub panic: f64,
}

/// What is measured of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    concurrency: Window,
    panic_concurrency: Window,
    requests: Window,
    panic_requests: Window,
    /// Whether pods are asked; otherwise the activator sees every request and silence means none.
    scrapes: bool,
}

impl Windows {
    /// Windows as a Metric asks for them.
    pub fn new(metric: &Metric) -> Self {
        let aggregation = metric.aggregation();
        let pair = |aggregation: Aggregation| {
            let stable = Window::new(metric.spec.stable_window(), aggregation);
            (stable, Window::new(metric.spec.panic_window(), aggregation))
        };
        let ((concurrency, panic_concurrency), (requests, panic_requests)) = (pair(aggregation), pair(aggregation));
        let scrapes = !metric.spec.scrape_target.is_empty();
        Self { concurrency, panic_concurrency, requests, panic_requests, scrapes }
    }

    /// The Metric has changed.
    pub fn update(&mut self, metric: &Metric, now: Timestamp) {
        self.scrapes = !metric.spec.scrape_target.is_empty();
        let (stable, panic): (SignedDuration, SignedDuration) =
            (metric.spec.stable_window(), metric.spec.panic_window());
        self.concurrency.resize(stable, now);
        self.requests.resize(stable, now);
        self.panic_concurrency.resize(panic, now);
        self.panic_requests.resize(panic, now);
    }

    /// Adds a measurement. What the activator reports itself is not counted twice.
    pub fn record(&mut self, now: Timestamp, stat: &Stat) {
        let (concurrency, requests) = (stat.own_concurrency(), stat.own_requests());
        self.concurrency.record(now, concurrency);
        self.panic_concurrency.record(now, concurrency);
        self.requests.record(now, requests);
        self.panic_requests.record(now, requests);
    }

    /// The averages of a metric; `None` if pods are asked and none has answered for a whole window,
    /// so that nothing is known.
    pub fn averages(&self, metric: ScalingMetric, now: Timestamp) -> Option<Averages> {
        let (stable, panic) = match metric {
            ScalingMetric::Concurrency => (&self.concurrency, &self.panic_concurrency),
            ScalingMetric::Rps => (&self.requests, &self.panic_requests),
        };
        if self.scrapes && stable.is_empty(now) {
            return None;
        }
        Some(Averages { stable: stable.average(now), panic: panic.average(now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metric(target: &str) -> Metric {
        serde_json::from_value(json!({
            "spec": {"stableWindow": 60_000_000_000_i64, "panicWindow": 6_000_000_000_i64, "scrapeTarget": target},
        }))
        .expect("a Metric")
    }

    #[test]
    fn what_the_activator_reports_is_counted_once() {
        let mut windows = Windows::new(&metric("hello-private"));
        let now = Timestamp::from_second(1000).expect("a time");
        assert_eq!(windows.averages(ScalingMetric::Concurrency, now), None);
        let stat = Stat {
            average_concurrent_requests: 5.0,
            average_proxied_concurrent_requests: 2.0,
            request_count: 9.0,
            proxied_request_count: 4.0,
            ..Stat::default()
        };
        windows.record(now, &stat);
        assert_eq!(windows.averages(ScalingMetric::Concurrency, now), Some(Averages { stable: 3.0, panic: 3.0 }));
        assert_eq!(windows.averages(ScalingMetric::Rps, now), Some(Averages { stable: 5.0, panic: 5.0 }));
        let later = Timestamp::from_second(1010).expect("a time");
        assert_eq!(windows.averages(ScalingMetric::Rps, later), Some(Averages { stable: 5.0, panic: 0.0 }));
    }

    #[test]
    fn silence_is_no_traffic_where_the_activator_sees_all() {
        let windows = Windows::new(&metric(""));
        assert_eq!(windows.averages(ScalingMetric::Rps, Timestamp::UNIX_EPOCH), Some(Averages::default()));
        let mut changed = windows.clone();
        changed.update(&metric("x"), Timestamp::UNIX_EPOCH);
        assert_eq!(changed.averages(ScalingMetric::Rps, Timestamp::UNIX_EPOCH), None);
    }
}
