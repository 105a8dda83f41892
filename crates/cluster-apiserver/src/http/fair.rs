//! Fair queuing: seats that users share, so that one user's flood makes that user wait and nobody else.
//!
//! A user has at most so many of the seats. Who finds none free waits in their user's queue; a seat that becomes free goes to the user who has
//! fewest, among equals to who has waited longest. Nobody passes a request that waits for more seats than are free, so that large ones come too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Seats shared by users.
#[derive(Clone, Debug)]
pub(crate) struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The most that one user may have.
    per_user: usize,
    /// The most requests of one user that wait.
    queue: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who has seats or waits for some.
    users: BTreeMap<String, User>,
    /// How many requests have begun to wait.
    arrivals: u64,
}

#[derive(Debug, Default)]
struct User {
    taken: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    arrival: u64,
    seats: usize,
    called: oneshot::Sender<Taken>,
}

/// Seats that are taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    shared: Arc<Shared>,
    user: String,
    seats: usize,
}

/// A user's queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Seats {
    /// `total` seats, of which a user may have `per_user`, with a queue of `queue` requests each.
    pub(crate) fn new(total: usize, per_user: usize, queue: usize) -> Self {
        let state = State { free: total, users: BTreeMap::new(), arrivals: 0 };
        Self(Arc::new(Shared { per_user: per_user.min(total), queue, state: Mutex::new(state) }))
    }

    /// Takes `seats` (no more than a user may have) as soon as they are free and it is this user's turn.
    pub(crate) async fn take(&self, user: &str, seats: usize) -> Result<Taken, QueueFull> {
        let called = {
            let mut state = self.0.lock();
            let seats = seats.min(self.0.per_user);
            let arrival = state.arrivals;
            state.arrivals += 1;
            let queue = &mut state.users.entry(user.to_owned()).or_default().waiting;
            queue.retain(|waiter| !waiter.called.is_closed());
            let (caller, called) = oneshot::channel();
            queue.push_back(Waiter { arrival, seats, called: caller });
            let ready = self.0.next(&mut state);
            let is_full = state.users.get(user).is_some_and(|user| user.waiting.len() > self.0.queue);
            if is_full && let Some(user) = state.users.get_mut(user) {
                user.waiting.pop_back();
            }
            state.forget_idle(user);
            drop(state);
            call(ready);
            if is_full {
                return Err(QueueFull);
            }
            called
        };
        // A waiter is only forgotten when this end of it is.
        called.await.map_err(|_| QueueFull)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free seats to whose turn it is. To be called when the lock is no longer held: see [`call`].
    fn next(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Taken>, Taken)> {
        let mut ready = Vec::new();
        loop {
            let turns = state.users.iter_mut().filter_map(|(name, user)| {
                // Who has given up waits no more: their turn, if it came, would hold up the others.
                while user.waiting.pop_front_if(|waiter| waiter.called.is_closed()).is_some() {}
                let waiter = user.waiting.front()?;
                let has_room = user.taken + waiter.seats <= self.per_user;
                has_room.then_some((user.taken, waiter.arrival, name, user))
            });
            let Some((.., name, user)) = turns.min_by_key(|(taken, arrival, ..)| (*taken, *arrival)) else { break };
            let Some(waiter) = user.waiting.pop_front_if(|waiter| waiter.seats <= state.free) else { break };
            user.taken += waiter.seats;
            state.free -= waiter.seats;
            let taken = Taken { shared: Arc::clone(self), user: name.clone(), seats: waiter.seats };
            ready.push((waiter.called, taken));
        }
        state.users.retain(|_, user| !user.is_idle());
        ready
    }
}

impl User {
    fn is_idle(&self) -> bool {
        self.taken == 0 && self.waiting.is_empty()
    }
}

impl State {
    fn forget_idle(&mut self, name: &str) {
        if self.users.get(name).is_some_and(User::is_idle) {
            self.users.remove(name);
        }
    }
}

/// Tells who may go on. Who has gone meanwhile gives the seats back, which takes the lock.
fn call(ready: Vec<(oneshot::Sender<Taken>, Taken)>) {
    for (called, taken) in ready {
        drop(called.send(taken));
    }
}

impl Taken {
    /// Gives back all but `seats`.
    pub(crate) fn keep(&mut self, seats: usize) {
        self.give(self.seats.saturating_sub(seats));
    }

    fn give(&mut self, seats: usize) {
        self.seats -= seats;
        let mut state = self.shared.lock();
        state.free += seats;
        if let Some(user) = state.users.get_mut(&self.user) {
            user.taken -= seats;
        }
        let ready = self.shared.next(&mut state);
        drop(state);
        call(ready);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give(self.seats);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// Takes at once, or not at all.
    fn now(seats: &Seats, user: &str, count: usize) -> Option<Taken> {
        seats.take(user, count).now_or_never().and_then(Result::ok)
    }

    #[test]
    fn a_user_has_a_share_and_others_have_the_rest() {
        let seats = Seats::new(4, 2, 0);
        let held: Vec<_> = (0..2).map(|_| now(&seats, "a", 1).unwrap()).collect();
        assert_eq!(seats.take("a", 1).now_or_never().unwrap().unwrap_err(), QueueFull);
        let others: Vec<_> = ["b", "c"].map(|user| now(&seats, user, 1).unwrap()).into();
        assert!(now(&seats, "d", 1).is_none(), "all are taken");
        drop(held);
        assert!(now(&seats, "d", 2).is_some());
        drop(others);
        assert!(seats.0.lock().users.is_empty(), "nobody is remembered");
        assert_eq!(seats.0.lock().free, 4);
    }

    #[test]
    fn a_free_seat_goes_to_who_has_fewest_then_to_who_waits_longest() {
        let seats = Seats::new(3, 2, 10);
        let (a, _a, b) = (now(&seats, "a", 1).unwrap(), now(&seats, "a", 1).unwrap(), now(&seats, "b", 1).unwrap());
        let mut flood: Vec<_> = (0..5).map(|_| Box::pin(seats.take("a", 1))).collect();
        assert!(flood.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        let mut late: Vec<_> = ["c", "d"].map(|user| Box::pin(seats.take(user, 1))).into();
        assert!(late.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        drop(b);
        let c = late[0].as_mut().now_or_never().expect("c's turn").unwrap();
        drop(a);
        let d = late[1].as_mut().now_or_never().expect("d's turn, who has none").unwrap();
        assert!(flood[0].as_mut().now_or_never().is_none());
        drop(c);
        assert!(flood[0].as_mut().now_or_never().is_some(), "nobody else waits");
        drop(d);
    }

    #[test]
    fn a_large_request_is_not_passed_for_ever_and_who_gives_up_frees_the_way() {
        let seats = Seats::new(4, 4, 10);
        let (one, two) = (now(&seats, "a", 2).unwrap(), now(&seats, "b", 2).unwrap());
        let mut large = Box::pin(seats.take("c", 4));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(seats.take("d", 1));
        assert!(small.as_mut().now_or_never().is_none());
        drop(one);
        assert!(small.as_mut().now_or_never().is_none(), "c waits longer");
        drop(large);
        drop(two);
        assert!(small.as_mut().now_or_never().is_some());
        drop(small);
        assert_eq!(seats.0.lock().free, 4);
        assert!(seats.0.lock().users.is_empty());
    }

    #[test]
    fn seats_that_are_not_needed_are_given_back() {
        let seats = Seats::new(4, 4, 10);
        let mut large = now(&seats, "a", 4).unwrap();
        let mut waiting = Box::pin(seats.take("b", 3));
        assert!(waiting.as_mut().now_or_never().is_none());
        large.keep(1);
        assert!(waiting.as_mut().now_or_never().is_some());
        large.keep(2);
        drop(large);
        drop(waiting);
        assert_eq!(seats.0.lock().free, 4);
        assert!(seats.0.lock().users.is_empty());
    }

    #[test]
    fn who_has_gone_holds_up_nobody_whoever_is_next() {
        let seats = Seats::new(2, 2, 10);
        let (one, two) = (now(&seats, "a", 1).unwrap(), now(&seats, "b", 1).unwrap());
        let mut gone = Box::pin(seats.take("c", 2));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut small = Box::pin(seats.take("d", 1));
        assert!(small.as_mut().now_or_never().is_none());
        drop(gone);
        drop(one);
        assert!(small.as_mut().now_or_never().is_some(), "c's request for two is not waited for");
        drop(two);
        assert!(seats.0.lock().users.is_empty());
    }

    #[test]
    fn seats_of_who_has_gone_are_not_lost() {
        let seats = Seats::new(1, 1, 10);
        let held = now(&seats, "a", 1).unwrap();
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(seats.take("b", 1))).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        drop(held);
        // The first one was called and leaves without having heard it.
        while !waiting.is_empty() {
            drop(waiting.remove(0));
        }
        assert!(now(&seats, "c", 1).is_some());
        assert!(seats.0.lock().users.is_empty());
    }
}
