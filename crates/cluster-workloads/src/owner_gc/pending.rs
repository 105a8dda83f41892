//! Which objects wait to be looked at: each once, some not before their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base_rt::backoff::Backoff;
use tokio::time::Instant;

const FIRST_RETRY: Duration = Duration::from_millis(20);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Uids to look at, in the order in which they came. There are at most as many as objects.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<String>,
    queued: BTreeSet<String>,
    running: BTreeSet<String>,
    again: BTreeSet<String>,
    timers: BTreeSet<(Instant, String)>,
    retries: BTreeMap<String, Backoff>,
    /// Those that wait until every kind is known.
    parked: BTreeSet<String>,
}

impl Pending {
    /// Has `uid` looked at. While somebody does, it comes back afterwards.
    pub(super) fn add(&mut self, uid: String) {
        if self.running.contains(&uid) {
            self.again.insert(uid);
        } else if self.queued.insert(uid.clone()) {
            self.queue.push_back(uid);
        }
    }

    /// The next one to look at.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        while self.timers.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, uid)) = self.timers.pop_first() {
                self.add(uid);
            }
        }
        let uid = self.queue.pop_front()?;
        self.queued.remove(&uid);
        self.running.insert(uid.clone());
        Some(uid)
    }

    /// When the next delayed one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The look at `uid` has ended well.
    pub(super) fn done(&mut self, uid: &str) {
        self.retries.remove(uid);
        self.end(uid);
    }

    /// The look at `uid` has to be repeated, later each time.
    pub(super) fn retry(&mut self, uid: &str, now: Instant) {
        let backoff = self.retries.entry(uid.to_owned()).or_insert(Backoff::new(FIRST_RETRY, MAX_RETRY));
        self.timers.insert((now + backoff.next_delay(), uid.to_owned()));
        self.end(uid);
    }

    /// `uid` waits for [`Pending::unpark`].
    pub(super) fn park(&mut self, uid: &str) {
        self.parked.insert(uid.to_owned());
        self.end(uid);
    }

    /// Has everything that is parked looked at.
    pub(super) fn unpark(&mut self) {
        for uid in std::mem::take(&mut self.parked) {
            self.add(uid);
        }
    }

    fn end(&mut self, uid: &str) {
        self.running.remove(uid);
        if self.again.remove(uid) {
            self.add(uid.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_looked_at_once_at_a_time() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for uid in ["a", "b", "a"] {
            pending.add(uid.into());
        }
        assert_eq!(pending.take(now).as_deref(), Some("a"));
        pending.add("a".into());
        assert_eq!(pending.take(now).as_deref(), Some("b"));
        assert_eq!(pending.take(now), None, "a is being looked at");
        pending.done("a");
        assert_eq!(pending.take(now).as_deref(), Some("a"));
        pending.retry("a", now);
        assert_eq!(pending.take(now), None);
        assert_eq!(pending.take(now + FIRST_RETRY).as_deref(), Some("a"));
        pending.park("a");
        assert_eq!((pending.take(now + MAX_RETRY), pending.next_due()), (None, None));
        pending.unpark();
        assert_eq!(pending.take(now).as_deref(), Some("a"));
    }
}
