//! What goes on on each connection of a server, and the sweep that ends the idle ones.
//!
//! A request costs two counters of its own connection here, and no clock, timer or lock: time is measured by the sweep, which comes by in
//! ticks and compares what it finds with what it found before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;

/// What a connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Serve,
    /// Finish what is in flight and take nothing more.
    Drain,
    /// End now.
    Close,
}

/// One connection's counters.
#[derive(Debug, Default)]
pub(super) struct Activity {
    started: AtomicU64,
    in_flight: AtomicU32,
    order: AtomicU8,
    waker: AtomicWaker,
}

impl Activity {
    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn command(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.waker.wake();
        }
    }
}

/// A request being answered: from its head to the end (or loss) of the response's body.
#[derive(Debug)]
pub(crate) struct Exchange(Arc<Activity>);

impl Exchange {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Registry {
    first_request_ticks: u32,
    idle_ticks: u32,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    made: u64,
    open: BTreeMap<u64, Open>,
    is_draining: bool,
}

#[derive(Debug)]
struct Open {
    activity: Arc<Activity>,
    started_before: u64,
    idle_ticks: u32,
}

/// A connection's place in its registry, given up by dropping it.
#[derive(Debug)]
pub(super) struct Registered {
    registry: Arc<Registry>,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.lock().open.remove(&self.id);
    }
}

/// While draining, a connection without a request in flight has this many ticks left.
const DRAIN_TICKS: u32 = 2;

impl Registry {
    /// A connection may wait `first_request` for its first request and `idle` for each further one, measured in ticks.
    pub(super) fn new(first_request: Duration, idle: Duration, tick: Duration) -> Arc<Self> {
        let ticks = |duration: Duration| {
            u32::try_from(duration.as_millis().div_ceil(tick.as_millis().max(1))).unwrap_or(u32::MAX)
        };
        let (first_request_ticks, idle_ticks) = (ticks(first_request), ticks(idle));
        Arc::new(Self { first_request_ticks, idle_ticks, connections: Mutex::default() })
    }

    pub(super) fn register(self: &Arc<Self>) -> Registered {
        let activity = Arc::new(Activity::default());
        let mut connections = self.lock();
        connections.made += 1;
        let id = connections.made;
        if connections.is_draining {
            activity.command(Order::Drain);
        }
        connections.open.insert(id, Open { activity: Arc::clone(&activity), started_before: 0, idle_ticks: 0 });
        Registered { registry: Arc::clone(self), id, activity }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// Has every connection finish what is in flight.
    pub(super) fn drain(&self) {
        let mut connections = self.lock();
        connections.is_draining = true;
        for open in connections.open.values_mut() {
            open.idle_ticks = 0;
            open.activity.command(Order::Drain);
        }
    }

    /// Ends every connection.
    pub(super) fn close(&self) {
        self.lock().open.values().for_each(|open| open.activity.command(Order::Close));
    }

    /// One tick has passed.
    pub(super) fn sweep(&self) {
        let mut connections = self.lock();
        let is_draining = connections.is_draining;
        for open in connections.open.values_mut() {
            let started = open.activity.started.load(Ordering::Relaxed);
            if started != open.started_before || open.activity.in_flight.load(Ordering::Relaxed) > 0 {
                (open.started_before, open.idle_ticks) = (started, 0);
                continue;
            }
            open.idle_ticks = open.idle_ticks.saturating_add(1);
            let limit = if started == 0 { self.first_request_ticks } else { self.idle_ticks };
            let limit = if is_draining { DRAIN_TICKS } else { limit };
            if open.idle_ticks > limit {
                // First politely (h2 says GOAWAY), a tick later in any case.
                let order = if open.activity.order() == Order::Serve { Order::Drain } else { Order::Close };
                open.activity.command(order);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sweep(registry: &Registry, times: u32) {
        (0..times).for_each(|_| registry.sweep());
    }

    #[test]
    fn an_idle_connection_is_asked_and_then_told_to_end() {
        let registry = Registry::new(2 * SECOND, 4 * SECOND, SECOND);
        let connection = registry.register();
        sweep(&registry, 2);
        assert_eq!(connection.activity.order(), Order::Serve);
        sweep(&registry, 1);
        assert_eq!(connection.activity.order(), Order::Drain, "no first request");
        sweep(&registry, 1);
        assert_eq!(connection.activity.order(), Order::Close);
        drop(connection);
        assert!(registry.is_empty());
    }

    #[test]
    fn a_busy_connection_is_left_alone() {
        let registry = Registry::new(2 * SECOND, 4 * SECOND, SECOND);
        let connection = registry.register();
        let exchange = Exchange::begin(&connection.activity);
        sweep(&registry, 100);
        assert_eq!(connection.activity.order(), Order::Serve);
        drop(exchange);
        sweep(&registry, 4);
        drop(Exchange::begin(&connection.activity));
        sweep(&registry, 5);
        assert_eq!(connection.activity.order(), Order::Serve, "a request in between counts");
        sweep(&registry, 1);
        assert_eq!(connection.activity.order(), Order::Drain);
    }

    #[test]
    fn draining_waits_for_what_is_in_flight_only() {
        let registry = Registry::new(90 * SECOND, 90 * SECOND, SECOND);
        let (idle, busy) = (registry.register(), registry.register());
        let _exchange = Exchange::begin(&busy.activity);
        registry.drain();
        sweep(&registry, 10);
        assert_eq!((idle.activity.order(), busy.activity.order()), (Order::Close, Order::Drain));
        assert_eq!(registry.register().activity.order(), Order::Drain, "a late one is told at once");
        registry.close();
        assert_eq!(busy.activity.order(), Order::Close);
    }
}
