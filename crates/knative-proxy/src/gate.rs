//! A [`Breaker`] that one waits at: the shell around `knative_logic::breaker` for queue-proxy (one per Pod) and the activator (one per
//! Revision).
//!
//! Invariants: a [`Permit`] is a slot, given back by dropping it; whoever stops waiting, at whatever moment, leaves no slot behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use knative_logic::breaker::{Breaker, Cancelled, Entry, Ticket};
use tokio::sync::oneshot;

/// A breaker and those who wait at it.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<Breaker<oneshot::Sender<()>>>);

/// Why a request does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The line is full.
    Full,
    /// There will be no room again.
    Closed,
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.leave();
    }
}

struct Waiting {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let cancelled = self.gate.lock().cancel(ticket);
        if matches!(cancelled, Cancelled::Woken) {
            self.gate.leave();
        }
    }
}

impl Gate {
    pub(crate) fn new(capacity: u32, queue_depth: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Breaker::new(capacity, queue_depth))))
    }

    /// Waits for a slot. Cancel-safe.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Permit, Refused> {
        let (sender, woken) = oneshot::channel();
        let mut waiting = {
            let mut breaker = self.lock();
            if breaker.try_enter() {
                return Ok(Permit(Arc::clone(self)));
            }
            match breaker.enter(sender) {
                Entry::Admitted => return Ok(Permit(Arc::clone(self))),
                Entry::Full => return Err(Refused::Full),
                Entry::Closed => return Err(Refused::Closed),
                Entry::Queued(ticket) => Waiting { gate: Arc::clone(self), ticket: Some(ticket) },
            }
        };
        let answer = woken.await;
        waiting.ticket = None;
        answer.map(|()| Permit(Arc::clone(self))).map_err(|_closed| Refused::Closed)
    }

    /// There is room for another number of requests.
    pub(crate) fn resize(&self, capacity: u32) {
        let woken = self.lock().resize(capacity);
        // Who has gone meanwhile gives the slot back itself.
        for waiter in woken {
            let _ = waiter.send(());
        }
    }

    /// Sends everybody away who waits, and who comes from now on.
    pub(crate) fn close(&self) {
        let waiting = self.lock().close();
        drop(waiting);
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.lock().capacity()
    }

    /// How many wait.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued()
    }

    fn leave(&self) {
        let next = self.lock().leave();
        if let Some(next) = next {
            // As in `resize`.
            let _ = next.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::join_all;

    #[tokio::test]
    async fn exactly_as_many_are_woken_as_there_is_room_for() {
        let gate = Gate::new(0, 10);
        let mut waiting: Vec<_> = (0..5)
            .map(|_| {
                let gate = Arc::clone(&gate);
                async move { gate.enter().await }.boxed()
            })
            .collect();
        waiting.iter_mut().for_each(|waiter| assert!(waiter.now_or_never().is_none()));
        gate.resize(2);
        let mut woken: Vec<_> = waiting.iter_mut().map(|waiter| waiter.now_or_never()).collect();
        assert_eq!(woken.iter().filter(|woken| woken.is_some()).count(), 2);
        // The first to leave hands its slot to the third in line.
        drop(woken.remove(0));
        let third = waiting.get_mut(2).unwrap();
        assert!(third.now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_goes_leaves_no_slot_behind() {
        let gate = Gate::new(0, 10);
        let mut first = gate.enter().boxed();
        let mut second = gate.enter().boxed();
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        gate.resize(1);
        // It was woken, and goes before it knows.
        drop(first);
        assert!(second.await.is_ok());
        assert!(gate.enter().now_or_never().is_some(), "the slot came back");
    }

    #[tokio::test]
    async fn full_and_closed() {
        let gate = Gate::new(0, 1);
        let mut waiting = gate.enter().boxed();
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(gate.enter().await.unwrap_err(), Refused::Full);
        gate.close();
        assert_eq!(join_all([waiting]).await.pop().unwrap().unwrap_err(), Refused::Closed);
        gate.resize(1);
        assert_eq!(gate.enter().await.unwrap_err(), Refused::Closed, "it stays closed");
    }

    #[tokio::test]
    async fn who_was_sent_away_and_goes_gives_nothing_back() {
        let gate = Gate::new(1, 10);
        let permit = gate.enter().await.unwrap();
        let mut waiting = gate.enter().boxed();
        assert!((&mut waiting).now_or_never().is_none());
        gate.close();
        drop(waiting);
        assert_eq!(gate.lock().in_flight(), 1, "the first is still in");
        drop(permit);
        assert_eq!(gate.lock().in_flight(), 0);
    }
}
