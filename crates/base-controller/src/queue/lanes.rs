//! What a controller works on next, as a value: no clock, no waiting.
//!
//! ```text
//!            add                    pop                     finish
//!   Idle ──────────► Queued(lane) ──────► Running ─────────────────────────► Idle
//!     ▲                                    │  └─ writes not yet seen ─► Parked ─┘ unpark
//!     └─ timer (again, retry) ◄────────────┘
//! ```
//! - Two lanes: what just changed goes before resyncs and retries, but every [`FAIRNESS`]th turn is the background's.
//! - A key that is added while it is running or parked comes back once, afterwards.
//! - Each key has at most one timer, set by the end of its last run: what a newer run says replaces it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base_rt::backoff::Backoff;
use tokio::time::Instant;

use crate::key::Key;

/// After so many turns of the fresh lane in a row, the background lane has one.
const FAIRNESS: u32 = 16;
/// Keys that a queue holds at most; beyond it, new keys wait for the next resync.
const MAX_KEYS: usize = 1_000_000;
const FIRST_RETRY: Duration = Duration::from_millis(5);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// How urgent a key is. The order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Resyncs, first lists, retries.
    Background,
    /// Something changed.
    Fresh,
}

/// When a key that has been worked on comes back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Never: only a change wakes it.
    Rest,
    /// After this time, because the plan asked for it.
    Again(Duration),
    /// After a delay that doubles with each retry in a row, but at least this long.
    Retry(Duration),
    /// Never, and nothing is remembered of it.
    Forget,
}

/// What a timer does when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Wake(Lane),
    GiveUpWaiting,
}

#[derive(Debug)]
enum State {
    Idle,
    Queued { lane: Lane, since: Instant },
    Running,
    Parked,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Added while running or parked.
    added: Option<Lane>,
    timer: Option<TimerId>,
    parking: Option<TimerId>,
    retries: Backoff,
    is_retrying: bool,
}

/// Timers fire in the order of their times, and of their making within one instant.
type TimerId = (Instant, u64);

#[derive(Debug)]
pub(super) struct Lanes {
    entries: BTreeMap<Key, Entry>,
    fresh: VecDeque<Key>,
    background: VecDeque<Key>,
    timers: BTreeMap<TimerId, (Key, Due)>,
    timers_made: u64,
    fresh_in_a_row: u32,
    queued: usize,
}

impl Entry {
    fn new() -> Self {
        Self {
            state: State::Idle,
            added: None,
            timer: None,
            parking: None,
            retries: Backoff::new(FIRST_RETRY, MAX_RETRY),
            is_retrying: false,
        }
    }

    fn is_forgettable(&self) -> bool {
        matches!(self.state, State::Idle) && self.timer.is_none() && !self.is_retrying
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            fresh: VecDeque::new(),
            background: VecDeque::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            fresh_in_a_row: 0,
            queued: 0,
        }
    }

    /// How many keys wait in the lanes.
    pub(super) fn waiting(&self) -> usize {
        self.queued
    }

    /// Queues `key`, or remembers to. False if the queue is full.
    pub(super) fn add(&mut self, key: &Key, lane: Lane, now: Instant) -> bool {
        if !self.entries.contains_key(key) {
            if self.entries.len() >= MAX_KEYS {
                return false;
            }
            self.entries.insert(key.clone(), Entry::new());
        }
        let Some(entry) = self.entries.get_mut(key) else { return false };
        match entry.state {
            State::Running | State::Parked => entry.added = entry.added.max(Some(lane)),
            State::Queued { lane: Lane::Fresh, .. } => {}
            State::Queued { lane: Lane::Background, since } => {
                if lane == Lane::Fresh {
                    entry.state = State::Queued { lane, since };
                    self.fresh.push_back(key.clone());
                }
            }
            State::Idle => self.enqueue(key, lane, now),
        }
        true
    }

    fn enqueue(&mut self, key: &Key, lane: Lane, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = State::Queued { lane, since: now };
            self.queued += 1;
            self.lane(lane).push_back(key.clone());
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Key> {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Background => &mut self.background,
        }
    }

    /// The next key and how long it has waited. It is running from here on.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Key, Duration)> {
        let background_first = self.fresh_in_a_row >= FAIRNESS;
        let order = if background_first { [Lane::Background, Lane::Fresh] } else { [Lane::Fresh, Lane::Background] };
        for lane in order {
            if let Some((key, since)) = self.pop_lane(lane) {
                self.fresh_in_a_row = if lane == Lane::Fresh { self.fresh_in_a_row.saturating_add(1) } else { 0 };
                self.queued = self.queued.saturating_sub(1);
                return Some((key, now.saturating_duration_since(since)));
            }
        }
        None
    }

    fn pop_lane(&mut self, lane: Lane) -> Option<(Key, Instant)> {
        while let Some(key) = self.lane(lane).pop_front() {
            // A key that moved to the other lane, or was taken there, leaves its old place behind.
            if let Some(entry) = self.entries.get_mut(&key)
                && let State::Queued { lane: is_in, since } = entry.state
                && is_in == lane
            {
                entry.state = State::Running;
                return Some((key, since));
            }
        }
        None
    }

    /// Ends the work on `key`. With `park_until` it is held back until [`Lanes::unpark`], or until that time.
    pub(super) fn finish(&mut self, key: &Key, next: Next, park_until: Option<Instant>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let stale = entry.timer.take();
        entry.is_retrying = matches!(next, Next::Retry(_));
        let wake = match next {
            Next::Rest | Next::Forget => None,
            Next::Again(delay) => Some((delay, Lane::Fresh)),
            Next::Retry(least) => Some((entry.retries.next_delay().max(least), Lane::Background)),
        };
        if !entry.is_retrying {
            entry.retries.reset();
        }
        entry.state = if park_until.is_some() { State::Parked } else { State::Idle };
        let timer = wake.map(|(delay, lane)| self.set_timer(now + delay, key, Due::Wake(lane)));
        let parking = park_until.map(|until| self.set_timer(until, key, Due::GiveUpWaiting));
        if let Some(stale) = stale {
            self.timers.remove(&stale);
        }
        if let Some(entry) = self.entries.get_mut(key) {
            entry.timer = timer;
            entry.parking = parking;
        }
        if park_until.is_none() {
            self.rest(key, now);
        }
    }

    /// Lets a parked key go.
    pub(super) fn unpark(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !matches!(entry.state, State::Parked) {
            return;
        }
        entry.state = State::Idle;
        if let Some(parking) = entry.parking.take() {
            self.timers.remove(&parking);
        }
        self.rest(key, now);
    }

    /// An idle key is queued if it was added meanwhile, and forgotten if nothing is known of it.
    fn rest(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(lane) = entry.added.take() {
            self.enqueue(key, lane, now);
        } else if entry.is_forgettable() {
            self.entries.remove(key);
        }
    }

    fn set_timer(&mut self, at: Instant, key: &Key, due: Due) -> TimerId {
        self.timers_made += 1;
        let id = (at, self.timers_made);
        self.timers.insert(id, (key.clone(), due));
        id
    }

    /// When the next timer is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// A timer that is due, taken out.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Key, Due)> {
        let first = self.timers.first_entry()?;
        let id = *first.key();
        if id.0 > now {
            return None;
        }
        let (key, due) = first.remove();
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.timer.take_if(|timer| *timer == id);
            entry.parking.take_if(|timer| *timer == id);
        }
        Some((key, due))
    }
}

#[cfg(test)]
mod tests;
