//! A value that changes, and whoever waits for it: `tokio::sync::watch`, but those who wait are woken in the order in which they came.
//!
//! Tokio spreads them over several queues, by a random number of the thread, so which of two tasks sees a change first is a matter of luck.
//! Here there is one queue. Whatever draws from a seed, on one thread and under a paused clock, then does the same in every run.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// The sender is gone, and what it sent last has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing changes it any more")]
pub struct Closed;

/// Changes the value. When it is dropped, the last value stays and nobody waits any longer.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value and its changes. A clone has seen what its original has.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, which cannot change while this lives: hold it briefly, and not across an `.await`.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, State<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: RwLock<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    is_closed: bool,
}

/// A sender of `value` and a receiver that has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State<T>) -> bool) -> bool {
        let is_changed = change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        if is_changed {
            self.changed.notify_waiters();
        }
        is_changed
    }
}

impl<T> Sender<T> {
    /// A sender that nobody listens to yet.
    pub fn new(value: T) -> Self {
        let state = RwLock::new(State { value, version: 0, is_closed: false });
        Self(Arc::new(Shared { state, changed: Notify::new() }))
    }

    /// A receiver that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.read().version;
        Receiver { shared: Arc::clone(&self.0), seen }
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Sets the value and returns the one before.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|present| std::mem::swap(present, &mut value));
        value
    }

    /// Changes the value in place.
    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Changes the value in place; nobody is told unless `modify` says that it did. Returns what it said.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        self.0.change(|state| {
            let is_modified = modify(&mut state.value);
            state.version += u64::from(is_modified);
            is_modified
        })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.is_closed = true;
            true
        });
    }
}

impl<T> Receiver<T> {
    /// The present value, which counts as seen only if it did before.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The present value, which counts as seen from here on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.read();
        self.seen = state.version;
        Ref(state)
    }

    /// The present value counts as seen from here on.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.read().version;
    }

    /// The present value counts as not seen, so that [`Receiver::changed`] returns at once.
    pub fn mark_changed(&mut self) {
        self.seen = self.shared.read().version.wrapping_sub(1);
    }

    /// Whether the sender is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.read().is_closed
    }

    /// Waits for a value that has not been seen, and counts it as seen. Cancel-safe.
    ///
    /// # Errors
    /// The sender is gone and its last value has been seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let seen = self.seen;
        self.wait(|state| state.version != seen).await
    }

    /// Waits until the value, the present one or a later one, is so; what it looked at counts as seen. Cancel-safe.
    ///
    /// # Errors
    /// The sender is gone and its last value is not so.
    pub async fn wait_for(&mut self, mut is_so: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        self.wait(|state| is_so(&state.value)).await
    }

    async fn wait(&mut self, mut is_so: impl FnMut(&State<T>) -> bool) -> Result<(), Closed> {
        loop {
            // It is told of every change from here on.
            let changed = self.shared.changed.notified();
            {
                let state = self.shared.read();
                let is_seen = is_so(&state);
                self.seen = state.version;
                if is_seen {
                    return Ok(());
                }
                if state.is_closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::StreamExt;
    use futures::stream::FuturesUnordered;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_change_is_seen_once() {
        let (sender, mut receiver) = channel(0);
        assert!(receiver.changed().now_or_never().is_none());
        sender.send_replace(1);
        assert!(!sender.send_if_modified(|_| false));
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 1);
        assert!(receiver.changed().now_or_never().is_none());
        receiver.mark_changed();
        assert_eq!(receiver.changed().await, Ok(()));
        sender.send_modify(|value| *value += 1);
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert!(receiver.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_last_value_outlives_its_sender() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        drop(sender);
        assert!(receiver.is_closed());
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.wait_for(|value| *value == 1).await, Ok(()));
        assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Closed));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_the_end() {
        let (sender, mut receiver) = channel(0);
        let (told, ()) = futures::future::join(receiver.wait_for(|value| *value == 1), async { drop(sender) }).await;
        assert_eq!(told, Err(Closed));
    }

    /// More than there are queues in tokio's: a random order would hardly ever be this one.
    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (sender, receiver) = channel(false);
        let order = Mutex::new(Vec::new());
        let mut waiting = FuturesUnordered::new();
        for number in 0..32 {
            let (mut receiver, order) = (receiver.clone(), &order);
            waiting.push(async move {
                let _ = receiver.wait_for(|is_on| *is_on).await;
                order.lock().unwrap().push(number);
            });
        }
        assert!(waiting.next().now_or_never().is_none());
        let came = std::mem::take(&mut *order.lock().unwrap());
        assert!(came.is_empty());
        sender.send_replace(true);
        while waiting.next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), (0..32).collect::<Vec<_>>());
    }
}
