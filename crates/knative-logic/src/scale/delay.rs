//! The delay of scaling down: what is done is the most that was wanted within the delay.

use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// Wants are kept by steps of the autoscaler's tick.
const STEP_SECONDS: i64 = 2;

/// The most of the last while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayWindow {
    delay: SignedDuration,
    /// Steps and what was wanted in them: later and smaller towards the end. The first is the most.
    maxima: VecDeque<(i64, i32)>,
}

impl DelayWindow {
    /// A window of this length; `None` if there is no delay.
    pub fn new(delay: SignedDuration) -> Option<Self> {
        (delay > SignedDuration::ZERO).then(|| Self { delay, maxima: VecDeque::new() })
    }

    /// Adds what is wanted now, and gives the most that was wanted within the delay.
    pub fn record(&mut self, now: Timestamp, wanted: i32) -> i32 {
        let step = now.as_second().div_euclid(STEP_SECONDS);
        let steps = self.steps();
        while self.maxima.back().is_some_and(|(_, held)| *held <= wanted) {
            self.maxima.pop_back();
        }
        while self.maxima.front().is_some_and(|(held, _)| step - held >= steps) {
            self.maxima.pop_front();
        }
        // Of one step the largest counts, and what was larger is still held.
        if self.maxima.back().is_none_or(|(held, _)| *held != step) {
            self.maxima.push_back((step, wanted));
        }
        self.maxima.front().map_or(wanted, |(_, most)| *most)
    }

    fn steps(&self) -> i64 {
        let seconds = self.delay.as_secs() + i64::from(self.delay.subsec_nanos() > 0);
        (seconds + STEP_SECONDS - 1) / STEP_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("a time")
    }

    #[test]
    fn less_is_done_only_after_the_delay() {
        let mut window = DelayWindow::new(SignedDuration::from_secs(6)).expect("a delay");
        let done: Vec<_> = [(0, 5), (2, 1), (4, 2), (6, 1), (8, 1), (10, 1)]
            .into_iter()
            .map(|(second, wanted)| window.record(at(second), wanted))
            .collect();
        assert_eq!(done, [5, 5, 5, 2, 2, 1]);
        assert_eq!(window.record(at(11), 9), 9);
        assert_eq!(DelayWindow::new(SignedDuration::ZERO), None);
    }

    proptest! {
        #[test]
        fn it_is_the_most_of_a_list(delay in 1..20i64, wants in proptest::collection::vec((0..5i64, 0..10i32), 1..50)) {
            let mut window = DelayWindow::new(SignedDuration::from_secs(delay)).expect("a delay");
            let steps = (delay + 1) / 2;
            let mut list: Vec<(i64, i32)> = Vec::new();
            let mut second = 0;
            for (wait, wanted) in wants {
                second += wait;
                let step = at(second).as_second() / 2;
                list.push((step, wanted));
                let most = list.iter().filter(|(held, _)| step - held < steps).map(|(_, wanted)| *wanted).max();
                prop_assert_eq!(Some(window.record(at(second), wanted)), most);
            }
        }
    }
}
