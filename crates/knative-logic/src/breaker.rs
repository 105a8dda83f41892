//! A breaker: lets so many requests through at a time, and lets a bounded number wait in line.
//!
//! It is a value. Whoever owns it (one per revision in the activator, one per pod in queue-proxy)
//! keeps it under its lock and wakes those whom it names:
//!
//! ```text
//! enter ─► Admitted            a slot is taken
//!       ─► Queued(ticket)      wait; somebody's `leave` or `resize` hands you the slot
//!       ─► Full                answer 503 "pending request queue full"
//! leave ─► the waiter, first come first served, to whom the slot goes
//! ```
//!
//! Invariants: nobody waits while there is room; at most `queue_depth` wait; a slot that a woken
//! waiter does not want any more must be given back with `leave`.

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
}

/// So many at a time, so many in line.
#[derive(Clone, Debug)]
pub struct Breaker<W> {
    capacity: u32,
    in_flight: u32,
    queue_depth: usize,
    waiting: BTreeMap<Ticket, W>,
    next: u64,
}

impl<W> Breaker<W> {
    /// A breaker with nobody in it.
    pub fn new(capacity: u32, queue_depth: usize) -> Self {
        Self { capacity, in_flight: 0, queue_depth, waiting: BTreeMap::new(), next: 0 }
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

    /// A request comes. Those in line go first.
    pub fn enter(&mut self, waiter: W) -> Entry {
        if self.in_flight < self.capacity {
            self.in_flight += 1;
            return Entry::Admitted;
        }
        if self.waiting.len() >= self.queue_depth {
            return Entry::Full;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
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

    /// A waiter gives up. `None` if it was woken already: then it holds a slot and must `leave`.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<W> {
        self.waiting.remove(&ticket)
    }

    /// There is room for another number of requests. The waiters who are returned hold slots now.
    pub fn resize(&mut self, capacity: u32) -> Vec<W> {
        self.capacity = capacity;
        std::iter::from_fn(|| self.admit_next()).collect()
    }

    /// There will be no room again; everybody in line is sent away.
    pub fn close(&mut self) -> Vec<W> {
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
        assert_eq!(breaker.cancel(c), Some("c"));
        assert_eq!(breaker.cancel(c), None);
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

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        Leave,
        Cancel(usize),
        Resize(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Enter),
            3 => Just(Step::Leave),
            1 => (0..8usize).prop_map(Step::Cancel),
            1 => (0..5u32).prop_map(Step::Resize),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// The plainest thing that does the same.
    #[derive(Default)]
    struct Model {
        capacity: usize,
        running: usize,
        line: VecDeque<(u32, Ticket)>,
    }

    impl Model {
        fn wake(&mut self) -> Vec<u32> {
            let mut woken = Vec::new();
            while self.running < self.capacity {
                let Some((waiter, _)) = self.line.pop_front() else { break };
                self.running += 1;
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
                            prop_assert!(model.running < model.capacity && model.line.is_empty());
                            model.running += 1;
                        }
                        Entry::Queued(ticket) => {
                            prop_assert!(model.running >= model.capacity && model.line.len() < depth);
                            model.line.push_back((number, ticket));
                        }
                        Entry::Full => prop_assert!(model.running >= model.capacity && model.line.len() == depth),
                    },
                    Step::Leave if model.running > 0 => {
                        model.running -= 1;
                        prop_assert_eq!(breaker.leave().into_iter().collect::<Vec<_>>(), model.wake());
                    }
                    Step::Leave => {}
                    Step::Cancel(place) => {
                        if let Some((waiter, ticket)) = model.line.remove(place) {
                            prop_assert_eq!(breaker.cancel(ticket), Some(waiter));
                        }
                    }
                    Step::Resize(capacity) => {
                        model.capacity = capacity as usize;
                        prop_assert_eq!(breaker.resize(capacity), model.wake());
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
