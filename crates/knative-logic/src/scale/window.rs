//! A window over the last seconds: what was measured in each, and the average of all.
//!
//! Samples of one second are added up. Seconds without a sample count as zero, once there has been
//! a first one. After a whole window without samples the window begins anew, so that a revision
//! that was idle is judged by its new traffic alone.

use jiff::{SignedDuration, Timestamp};
use knative_apis::annotations::Aggregation;

/// The sum of the weights that an exponential average covers at least.
const WEIGHT_PRECISION: f64 = 0.9999;
/// The slowest decay of an exponential average.
const MIN_SMOOTHING: f64 = 0.2;
/// Linear averages are rounded to so many digits, so that sums that went up and down end at zero.
const ROUNDING: f64 = 1e6;
/// Longer windows are cut: an operator may configure an hour.
const MAX_SECONDS: i64 = 24 * 3600;

/// A window over the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    aggregation: Aggregation,
    /// One sum a second, the second modulo the length being its place.
    buckets: Vec<f64>,
    written: Option<Written>,
    total: f64,
}

/// The seconds with samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    /// The first; none if the window was emptied and nothing came since.
    first: Option<i64>,
    /// The last, even if it was emptied since.
    last: i64,
}

impl Window {
    /// A window over this time, rounded up to seconds, at least one.
    pub fn new(length: SignedDuration, aggregation: Aggregation) -> Self {
        Self { aggregation, buckets: vec![0.0; bucket_count(length)], written: None, total: 0.0 }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> i64 {
        i64::try_from(self.buckets.len()).unwrap_or(MAX_SECONDS)
    }

    /// Whether nothing was measured for longer than the window.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.written.is_none_or(|written| now.as_second() - written.last > self.seconds())
    }

    /// Adds what was measured. What is older than the window is dropped.
    pub fn record(&mut self, now: Timestamp, value: f64) {
        let second = now.as_second();
        let length = self.seconds();
        let written = match self.written {
            Some(written) if second <= written.last - length => return,
            Some(written) if second - written.last < length => {
                self.clear(written.last + 1, second);
                let first = written.first.map_or(second, |first| first.min(second));
                Written { first: Some(first), last: written.last.max(second) }
            }
            _ => {
                self.buckets.fill(0.0);
                self.total = 0.0;
                Written { first: Some(second), last: second }
            }
        };
        self.written = Some(written);
        if let Some(bucket) = self.bucket_mut(second) {
            *bucket += value;
        }
        self.total += value;
    }

    /// The average over the window; 0 if nothing was measured.
    pub fn average(&self, now: Timestamp) -> f64 {
        match (self.written, self.aggregation) {
            (None, _) => 0.0,
            (Some(written), Aggregation::Linear) => self.linear(written, now.as_second()),
            (Some(_), Aggregation::WeightedExponential) if self.is_empty(now) => 0.0,
            (Some(written), Aggregation::WeightedExponential) => self.exponential(written, now.as_second()),
        }
    }

    /// Gives the window another length. What was measured stays, as far as it fits; unless it is older than the window was, but that it was
    /// measured is remembered then too.
    pub fn resize(&mut self, length: SignedDuration, now: Timestamp) {
        let count = bucket_count(length);
        if count == self.buckets.len() {
            return;
        }
        let mut resized = Self::new(length, self.aggregation);
        resized.written = self.written.map(|written| Written { first: None, ..written });
        if let Some(written) = self.written.filter(|_| !self.is_empty(now)) {
            let kept = i64::try_from(count.min(self.buckets.len())).unwrap_or(MAX_SECONDS);
            for second in (0..kept).map(|age| written.last - age) {
                let value = self.bucket(second);
                if let Some(bucket) = resized.bucket_mut(second) {
                    *bucket = value;
                }
                resized.total += value;
            }
            // The seconds before the first sample count as measured from now on.
            resized.written = Some(Written { first: Some(written.last - (self.seconds() - 1)), last: written.last });
        }
        *self = resized;
    }

    fn linear(&self, written: Written, now: i64) -> f64 {
        let missed = (now - written.last).max(0);
        if missed >= self.seconds() {
            return 0.0;
        }
        let fallen_out = (written.last + 1)..=(written.last + missed);
        let total = fallen_out.fold(self.total, |total, second| total - self.bucket(second));
        let counted = self.seconds() - missed;
        let measured = written.first.map_or(counted, |first| counted.min(written.last - first + 1));
        round(total / as_float(measured))
    }

    fn exponential(&self, written: Written, now: i64) -> f64 {
        let smoothing = smoothing(self.buckets.len());
        let missed = (now - written.last).max(0);
        let mut weight = smoothing * (1.0 - smoothing).powf(as_float(missed));
        let mut average = 0.0;
        for age in 0..(self.seconds() - missed) {
            average += self.bucket(written.last - age) * weight;
            weight *= 1.0 - smoothing;
        }
        average
    }

    /// Empties the seconds `from..=to`, which were another time's a window ago.
    fn clear(&mut self, from: i64, to: i64) {
        for second in from..=to {
            let old = self.bucket_mut(second).map(std::mem::take).unwrap_or_default();
            self.total -= old;
        }
    }

    fn place(&self, second: i64) -> usize {
        usize::try_from(second.rem_euclid(self.seconds())).unwrap_or(0)
    }

    fn bucket(&self, second: i64) -> f64 {
        self.buckets.get(self.place(second)).copied().unwrap_or_default()
    }

    fn bucket_mut(&mut self, second: i64) -> Option<&mut f64> {
        let place = self.place(second);
        self.buckets.get_mut(place)
    }
}

fn bucket_count(length: SignedDuration) -> usize {
    let seconds = length.as_secs() + i64::from(length.subsec_nanos() > 0);
    usize::try_from(seconds.clamp(1, MAX_SECONDS)).unwrap_or(1)
}

fn smoothing(buckets: usize) -> f64 {
    let buckets = f64::from(u32::try_from(buckets).unwrap_or(u32::MAX));
    (1.0 - (1.0 - WEIGHT_PRECISION).powf(1.0 / buckets)).max(MIN_SMOOTHING)
}

fn as_float(seconds: i64) -> f64 {
    f64::from(i32::try_from(seconds).unwrap_or(i32::MAX))
}

fn round(value: f64) -> f64 {
    (value * ROUNDING).round() / ROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("a time")
    }

    fn window(seconds: i64, aggregation: Aggregation) -> Window {
        Window::new(SignedDuration::from_secs(seconds), aggregation)
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-6, "got {got}, want {want}");
    }

    #[test]
    fn the_average_begins_with_the_first_sample() {
        let mut window = window(5, Aggregation::Linear);
        assert!(window.is_empty(at(0)));
        close(window.average(at(0)), 0.0);
        window.record(at(0), 2.0);
        window.record(at(0), 3.0);
        close(window.average(at(0)), 5.0);
        window.record(at(1), 7.0);
        close(window.average(at(1)), 6.0);
        // A gap counts as zero.
        window.record(at(3), 0.0);
        close(window.average(at(3)), 3.0);
    }

    #[test]
    fn what_is_older_falls_out() {
        let mut window = window(3, Aggregation::Linear);
        for second in 0..3 {
            window.record(at(second), 3.0);
        }
        close(window.average(at(2)), 3.0);
        window.record(at(3), 9.0);
        close(window.average(at(3)), 5.0);
        // Two seconds without a sample: what fell out is gone, and fewer seconds count.
        close(window.average(at(5)), 9.0);
        close(window.average(at(6)), 0.0);
        assert!(!window.is_empty(at(6)) && window.is_empty(at(7)));
        window.record(at(20), 4.0);
        close(window.average(at(20)), 4.0);
        window.record(at(10), 100.0);
        close(window.average(at(20)), 4.0);
    }

    #[test]
    fn later_seconds_weigh_more() {
        let mut window = window(4, Aggregation::WeightedExponential);
        for (second, value) in (0_i64..).zip([10.0, 10.0, 5.0, 5.0]) {
            window.record(at(second), value);
        }
        let s = 1.0 - (1.0 - WEIGHT_PRECISION).powf(0.25);
        let want = 5.0 * s + 5.0 * s * (1.0 - s) + 10.0 * s * (1.0 - s).powi(2) + 10.0 * s * (1.0 - s).powi(3);
        close(window.average(at(3)), want);
        let want = 5.0 * s * (1.0 - s) + 5.0 * s * (1.0 - s).powi(2) + 10.0 * s * (1.0 - s).powi(3);
        close(window.average(at(4)), want);
        close(window.average(at(8)), 0.0);
    }

    #[test]
    fn another_length_keeps_what_fits() {
        let mut window = window(4, Aggregation::Linear);
        for second in 0..4 {
            window.record(at(second), 4.0 * as_float(second));
        }
        window.resize(SignedDuration::from_secs(2), at(3));
        close(window.average(at(3)), 10.0);
        window.resize(SignedDuration::from_secs(6), at(3));
        assert_eq!(window.seconds(), 6);
        close(window.average(at(3)), 10.0);
        window.resize(SignedDuration::from_secs(3), at(100));
        assert!(window.is_empty(at(100)));
    }

    #[test]
    fn another_length_keeps_nothing_that_is_older() {
        let mut window = window(4, Aggregation::Linear);
        window.record(at(0), 8.0);
        window.resize(SignedDuration::from_secs(20), at(10));
        // There were samples within the new length, but they are gone.
        assert!(!window.is_empty(at(10)) && window.is_empty(at(21)));
        close(window.average(at(10)), 0.0);
        // The average begins with the next.
        window.record(at(12), 6.0);
        window.record(at(13), 2.0);
        close(window.average(at(13)), 4.0);
    }

    /// Answers of Knative's own code: samples (two numbers) and averages (time, null, average, empty).
    #[test]
    fn it_averages_as_knative_does() {
        #[derive(serde::Deserialize)]
        struct Trace {
            window: i64,
            weighted: bool,
            ops: Vec<serde_json::Value>,
        }
        let traces: Vec<Trace> = serde_json::from_str(include_str!("../../testdata/windows.json")).expect("traces");
        for (number, trace) in traces.iter().enumerate() {
            let aggregation = if trace.weighted { Aggregation::WeightedExponential } else { Aggregation::Linear };
            let mut window = window(trace.window, aggregation);
            for op in &trace.ops {
                let now = at(0) + SignedDuration::from_millis(op[0].as_i64().expect("a time"));
                match op[1].as_f64() {
                    Some(value) => window.record(now, value),
                    None => {
                        let want = op[2].as_f64().expect("an average");
                        let got = window.average(now);
                        assert!((got - want).abs() < 1e-5, "trace {number} {op}: {got}");
                        assert_eq!(Some(window.is_empty(now)), op[3].as_bool(), "trace {number} {op}");
                    }
                }
            }
        }
    }

    proptest! {
        /// A list of samples, averaged the plain way.
        #[test]
        fn it_is_a_list_of_samples(
            seconds in 1..20i64,
            samples in proptest::collection::vec((0..4i64, 0..100u8), 1..60),
            wait in 0..30i64,
        ) {
            let mut window = window(seconds, Aggregation::Linear);
            let mut list: Vec<(i64, f64)> = Vec::new();
            let mut now = 0;
            for (step, value) in samples {
                now += step;
                if list.last().is_some_and(|(last, _)| now - last >= seconds) {
                    list.clear();
                }
                list.push((now, f64::from(value)));
                window.record(at(now), f64::from(value));
            }
            let later = now + wait;
            let sum: f64 = list.iter().filter(|(second, _)| *second > later - seconds).map(|(_, value)| value).sum();
            let first = list.first().expect("a sample").0;
            let counted = (now - first + 1).min(seconds - wait);
            let want = if wait >= seconds { 0.0 } else { sum / as_float(counted) };
            prop_assert!((window.average(at(later)) - want).abs() < 1e-5);
            prop_assert!(window.average(at(later)) >= -1e-6);
        }
    }
}
