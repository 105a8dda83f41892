//! Requests in flight, averaged over time, and requests that came: what one reports of a Pod or a Revision.
//!
//! Between two changes the concurrency is weighted with the time that it lasted, as Knative's `RequestStats` does. A value; whoever
//! shares it puts a lock around it, and brings the time.

use tokio::time::Instant;

/// What has happened since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) average: f64,
    pub(crate) average_proxied: f64,
    pub(crate) requests: f64,
    pub(crate) proxied_requests: f64,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct RequestStats {
    changed: Instant,
    reported: Instant,
    concurrency: f64,
    proxied: f64,
    /// Requests times seconds.
    weighted: f64,
    weighted_proxied: f64,
    requests: f64,
    proxied_requests: f64,
}

impl RequestStats {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            changed: now,
            reported: now,
            concurrency: 0.0,
            proxied: 0.0,
            weighted: 0.0,
            weighted_proxied: 0.0,
            requests: 0.0,
            proxied_requests: 0.0,
        }
    }

    fn pass_to(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.changed).as_secs_f64();
        self.weighted += passed * self.concurrency;
        self.weighted_proxied += passed * self.proxied;
        self.changed = now;
    }

    pub(crate) fn begin(&mut self, is_proxied: bool, now: Instant) {
        self.pass_to(now);
        self.concurrency += 1.0;
        self.requests += 1.0;
        if is_proxied {
            self.proxied += 1.0;
            self.proxied_requests += 1.0;
        }
    }

    pub(crate) fn end(&mut self, is_proxied: bool, now: Instant) {
        self.pass_to(now);
        self.concurrency -= 1.0;
        if is_proxied {
            self.proxied -= 1.0;
        }
    }

    /// Requests in flight now.
    pub(crate) fn in_flight(&self) -> f64 {
        self.concurrency
    }

    pub(crate) fn report(&mut self, now: Instant) -> Report {
        self.pass_to(now);
        let passed = now.saturating_duration_since(self.reported).as_secs_f64();
        let average = |weighted: f64, present: f64| if passed > 0.0 { weighted / passed } else { present };
        let report = Report {
            average: average(self.weighted, self.concurrency),
            average_proxied: average(self.weighted_proxied, self.proxied),
            requests: self.requests,
            proxied_requests: self.proxied_requests,
        };
        (self.weighted, self.weighted_proxied) = (0.0, 0.0);
        (self.requests, self.proxied_requests) = (0.0, 0.0);
        self.reported = now;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn concurrency_is_weighted_with_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut stats = RequestStats::new(start);
        stats.begin(false, at(0));
        stats.begin(true, at(500));
        stats.end(false, at(750));
        let expected = Report { average: 1.25, average_proxied: 0.5, requests: 2.0, proxied_requests: 1.0 };
        assert_eq!(stats.report(at(1000)), expected);
        stats.end(true, at(1000));
        assert_eq!(stats.report(at(2000)), Report::default());
    }
}
