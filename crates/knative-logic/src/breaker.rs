//! A breaker: lets so many requests through at a time, and lets a bounded number wait in line.
//!
//! It is a value. Whoever owns it (one per revision in the activator, one per pod in queue-proxy)
//! keeps it under its lock and wakes those whom it names:
//!
//! ```text
//! enter ─► Admitted            a slot is taken
//!       ─► Queued(ticket)      wait; somebody's `leave` or `resize` hands you the slot
//!       ─► Full                answer 503 "pending request queue full"
//!       ─► Closed              there will never be room: look for another breaker
//! leave ─► the waiter, first come first served, to whom the slot goes
//! ```
//!
//! Invariants: nobody waits while there is room; at most `queue_depth` wait; a slot that a woken
//! waiter does not want any more must be given back with `leave`; once it is closed it stays so.

use std::collections::BTreeMap;

/// The text of the refusal when the line is full.
pub const QUEUE_FULL: &str = "pending request queue full";
/// A capacity that is never reached: for pods that take any number of requests.
pub const UNLIMITED: u32 = u32::MAX;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may go on; it holds a slot.
    Admitted,
    /// It waits.
    Queued(Ticket),
    /// It cannot even wait.
    Full,
    /// There will be no room again.
    Closed,
}

/// What becomes of a waiter who gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled<W> {
    /// It was in line, and is no more.
    InLine(W),
    /// It was woken already: it holds a slot and must `leave`.
    Woken,
    /// It was sent away when the breaker closed, and holds nothing.
    SentAway,
}

/// So many at a time, so many in line.
#[derive(Clone, Debug)]
pub struct Breaker<W> {
    capacity: u32,
    in_flight: u32,
    queue_depth: usize,
    waiting: BTreeMap<Ticket, W>,
    next: Ticket,
    /// The first of those whom closing sent away: the line is served in order, so that everybody before was woken or gave up.
    sent_away_from: Option<Ticket>,
}

impl<W> Breaker<W> {
    /// A breaker with nobody in it.
    pub fn new(capacity: u32, queue_depth: usize) -> Self {
        Self { capacity, in_flight: 0, queue_depth, waiting: BTreeMap::new(), next: Ticket(0), sent_away_from: None }
    }

    /// How many may be in flight.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many hold a slot. More than the capacity for a while after it shrank.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody holds a slot or waits.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }

    /// Whether there will be no room again.
    pub fn is_closed(&self) -> bool {
        self.sent_away_from.is_some()
    }

    /// A request comes. Those in line go first.
    pub fn enter(&mut self, waiter: W) -> Entry {
        if self.is_closed() {
            return Entry::Closed;
        }
        if self.in_flight < self.capacity {
            self.in_flight += 1;
            return Entry::Admitted;
        }
        if self.waiting.len() >= self.queue_depth {
            return Entry::Full;
        }
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.waiting.insert(ticket, waiter);
        Entry::Queued(ticket)
    }

    /// A request comes that would not wait; whether it holds a slot now.
    pub fn try_enter(&mut self) -> bool {
        let admitted = self.in_flight < self.capacity;
        self.in_flight += u32::from(admitted);
        admitted
    }

    /// A request that held a slot is done. The waiter who is returned holds the slot now.
    pub fn leave(&mut self) -> Option<W> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.admit_next()
    }

    /// A waiter gives up, for the first time.
    pub fn cancel(&mut self, ticket: Ticket) -> Cancelled<W> {
        match self.waiting.remove(&ticket) {
            Some(waiter) => Cancelled::InLine(waiter),
            None if self.sent_away_from.is_some_and(|first| ticket >= first) => Cancelled::SentAway,
            None => Cancelled::Woken,
        }
    }

    /// There is room for another number of requests; never again once it is closed. The waiters who are returned hold slots now.
    pub fn resize(&mut self, capacity: u32) -> Vec<W> {
        self.capacity = if self.is_closed() { 0 } else { capacity };
        std::iter::from_fn(|| self.admit_next()).collect()
    }

    /// There will be no room again; everybody in line is sent away.
    pub fn close(&mut self) -> Vec<W> {
        let first = self.waiting.first_key_value().map_or(self.next, |(first, _)| *first);
        self.sent_away_from.get_or_insert(first);
        self.capacity = 0;
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    fn admit_next(&mut self) -> Option<W> {
        if self.in_flight >= self.capacity {
            return None;
        }
        let (_, waiter) = self.waiting.pop_first()?;
        self.in_flight += 1;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn first_come_first_served() {
        let mut breaker = Breaker::new(1, 2);
        assert_eq!(breaker.enter("a"), Entry::Admitted);
        assert!(matches!(breaker.enter("b"), Entry::Queued(_)));
        let Entry::Queued(c) = breaker.enter("c") else { panic!("c waits") };
        assert_eq!(breaker.enter("d"), Entry::Full);
        assert!(!breaker.try_enter());
        assert_eq!(breaker.leave(), Some("b"));
        assert_eq!(breaker.cancel(c), Cancelled::InLine("c"));
        assert_eq!(breaker.leave(), None);
        assert!(breaker.is_idle());
    }

    #[test]
    fn room_wakes_and_shrinking_waits() {
        let mut breaker = Breaker::new(0, 10);
        for waiter in 0..5 {
            assert!(matches!(breaker.enter(waiter), Entry::Queued(_)));
        }
        assert_eq!(breaker.resize(3), [0, 1, 2]);
        assert!(breaker.resize(1).is_empty());
        assert_eq!((breaker.leave(), breaker.leave()), (None, None));
        assert_eq!(breaker.leave(), Some(3));
        assert_eq!(breaker.resize(UNLIMITED), [4]);
        assert_eq!(breaker.enter(9), Entry::Admitted);
        assert!(breaker.close().is_empty());
    }

    #[test]
    fn closed_is_closed() {
        let mut breaker = Breaker::new(0, 10);
        let tickets = ["woken", "first", "second"].map(|waiter| match breaker.enter(waiter) {
            Entry::Queued(ticket) => ticket,
            other => panic!("{other:?}"),
        });
        assert_eq!(breaker.resize(1), ["woken"]);
        assert_eq!(breaker.close(), ["first", "second"]);
        assert!(breaker.resize(5).is_empty());
        assert_eq!(breaker.enter("late"), Entry::Closed);
        assert!(!breaker.try_enter() && breaker.close().is_empty());
        let expected = [Cancelled::Woken, Cancelled::SentAway, Cancelled::SentAway];
        assert_eq!(tickets.map(|ticket| breaker.cancel(ticket)), expected);
        assert_eq!((breaker.in_flight(), breaker.leave(), breaker.in_flight()), (1, None, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        Leave,
        Cancel(usize),
        Resize(u32),
        Close,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Enter),
            3 => Just(Step::Leave),
            1 => (0..8usize).prop_map(Step::Cancel),
            1 => (0..5u32).prop_map(Step::Resize),
        ];
        // Most lines are never closed; a closed one soon has nothing more to show.
        let step = prop_oneof![100 => step, 1 => Just(Step::Close)];
        proptest::collection::vec(step, 0..200)
    }

    /// The plainest thing that does the same.
    #[derive(Default)]
    struct Model {
        capacity: usize,
        running: usize,
        line: VecDeque<(u32, Ticket)>,
        is_closed: bool,
        /// Those who were woken and those who were sent away, and have not heard of it yet.
        woken: VecDeque<Ticket>,
        sent_away: VecDeque<Ticket>,
    }

    impl Model {
        fn wake(&mut self) -> Vec<u32> {
            let mut woken = Vec::new();
            while self.running < self.capacity {
                let Some((waiter, ticket)) = self.line.pop_front() else { break };
                self.running += 1;
                self.woken.push_back(ticket);
                woken.push(waiter);
            }
            woken
        }
    }

    proptest! {
        #[test]
        fn it_does_what_a_line_does(steps in steps(), capacity in 0..4u32, depth in 0..4usize) {
            let mut breaker = Breaker::new(capacity, depth);
            let mut model = Model { capacity: capacity as usize, ..Model::default() };
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    Step::Enter => match breaker.enter(number) {
                        Entry::Admitted => {
                            prop_assert!(!model.is_closed && model.running < model.capacity && model.line.is_empty());
                            model.running += 1;
                        }
                        Entry::Queued(ticket) => {
                            prop_assert!(!model.is_closed && model.running >= model.capacity && model.line.len() < depth);
                            model.line.push_back((number, ticket));
                        }
                        Entry::Full => prop_assert!(model.running >= model.capacity && model.line.len() == depth),
                        Entry::Closed => prop_assert!(model.is_closed),
                    },
                    Step::Leave if model.running > 0 => {
                        model.running -= 1;
                        prop_assert_eq!(breaker.leave().into_iter().collect::<Vec<_>>(), model.wake());
                    }
                    Step::Leave => {}
                    Step::Cancel(place) => {
                        if let Some((waiter, ticket)) = model.line.remove(place) {
                            prop_assert_eq!(breaker.cancel(ticket), Cancelled::InLine(waiter));
                        } else if let Some(ticket) = model.sent_away.pop_front() {
                            prop_assert_eq!(breaker.cancel(ticket), Cancelled::SentAway);
                        } else if let Some(ticket) = model.woken.pop_back() {
                            prop_assert_eq!(breaker.cancel(ticket), Cancelled::Woken);
                        }
                    }
                    Step::Resize(capacity) => {
                        model.capacity = if model.is_closed { 0 } else { capacity as usize };
                        prop_assert_eq!(breaker.resize(capacity), model.wake());
                    }
                    Step::Close => {
                        (model.is_closed, model.capacity) = (true, 0);
                        let line = std::mem::take(&mut model.line);
                        prop_assert_eq!(breaker.close(), line.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>());
                        model.sent_away.extend(line.into_iter().map(|(_, ticket)| ticket));
                    }
                }
                prop_assert_eq!(breaker.in_flight() as usize, model.running);
                prop_assert_eq!(breaker.queued(), model.line.len());
                // Nobody waits while there is room.
                prop_assert!(breaker.queued() == 0 || breaker.in_flight() >= breaker.capacity());
            }
        }
    }
}
