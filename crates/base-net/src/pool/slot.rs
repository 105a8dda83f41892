//! One target's connections: the idle ones, and how many requests are in flight.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http1::SendRequest;

use super::shared::SharedConnection;
use crate::body::Body;
use crate::connect::Target;

pub(super) struct Slot {
    pub(super) target: Target,
    pub(super) http2: SharedConnection,
    max_idle: usize,
    now: Arc<AtomicU32>,
    in_flight: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<Body>,
    since: u32,
}

impl Slot {
    pub(super) fn new(target: Target, max_idle: usize, now: Arc<AtomicU32>) -> Self {
        Self {
            target,
            http2: SharedConnection::default(),
            max_idle,
            now,
            in_flight: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn idle(&self) -> usize {
        self.lock().len()
    }

    /// The connection that was used last and can be used now. A connection that is about to become ready (its last response has just been
    /// read) gets one turn of the runtime to do so.
    pub(super) async fn take(&self) -> Option<SendRequest<Body>> {
        match self.take_ready() {
            Taken::Ready(sender) => return Some(sender),
            Taken::None => return None,
            Taken::NotYet => {}
        }
        tokio::task::yield_now().await;
        match self.take_ready() {
            Taken::Ready(sender) => Some(sender),
            Taken::NotYet | Taken::None => None,
        }
    }

    fn take_ready(&self) -> Taken {
        let mut idle = self.lock();
        idle.retain(|idle| !idle.sender.is_closed());
        match idle.iter().rposition(|idle| idle.sender.is_ready()) {
            Some(index) => Taken::Ready(idle.remove(index).sender),
            None if idle.is_empty() => Taken::None,
            None => Taken::NotYet,
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let since = self.now.load(Ordering::Relaxed);
        let mut idle = self.lock();
        if idle.len() < self.max_idle {
            idle.push(Idle { sender, since });
        }
    }

    /// Drops what is closed or idle for more than `limit` ticks (with `is_stopped`: everything); true if nothing is left.
    pub(super) fn sweep(&self, now: u32, limit: u32, is_stopped: bool) -> bool {
        let mut idle = self.lock();
        idle.retain(|idle| !is_stopped && !idle.sender.is_closed() && now.wrapping_sub(idle.since) <= limit);
        let has_http2 = self.http2.sweep(is_stopped, self.in_flight() == 0, limit);
        idle.is_empty() && !has_http2 && self.in_flight() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Taken {
    Ready(SendRequest<Body>),
    /// There are connections, but none that can be used at once.
    NotYet,
    None,
}
