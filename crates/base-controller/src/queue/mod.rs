//! The work queue of a controller: keys only, each by one worker at a time, and held back until the caches have seen what it wrote.
//!
//! [`Lanes`] decides what is next, [`Gate`] which keys wait for which write; both are plain values behind one lock, so that a write seen
//! between "still unseen" and "held back" cannot be missed. [`Queue`] adds the waiting.

mod gate;
mod lanes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::apply::Written;
use crate::informer::{Progress, Sight};
use crate::key::Key;
use crate::metrics::ControllerMetrics;
use gate::Gate;
use lanes::{Due, Lanes};
pub(crate) use lanes::{Lane, Next};

/// How long a key waits at most for the caches to see what it wrote.
pub(crate) const SEEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A shared work queue.
pub(crate) struct Queue {
    core: Mutex<Core>,
    changed: Notify,
    metrics: ControllerMetrics,
}

struct Core {
    lanes: Lanes,
    gate: Gate,
}

impl Queue {
    pub(crate) fn new(metrics: ControllerMetrics) -> Arc<Self> {
        let core = Core { lanes: Lanes::new(), gate: Gate::new() };
        Arc::new(Self { core: Mutex::new(core), changed: Notify::new(), metrics })
    }

    /// Wakes `key`. Waking a key that waits already changes at most its lane.
    pub(crate) fn add(&self, key: &Key, lane: Lane) {
        let mut core = self.core();
        let is_queued = core.lanes.add(key, lane, Instant::now());
        self.settle(core);
        if !is_queued {
            self.metrics.overflow.inc();
            tracing::error!(%key, "work queue is full, key waits for the next resync");
        }
    }

    /// The next key to work on, if there is one now.
    pub(crate) fn take(&self) -> Option<Key> {
        let now = Instant::now();
        let mut core = self.core();
        while let Some((key, due)) = core.lanes.pop_due(now) {
            self.on_due(&mut core, key, due, now);
        }
        let (key, waited) = core.lanes.pop(now)?;
        self.metrics.depth.set(depth(&core));
        self.metrics.waited_s.observe(waited.as_secs_f64());
        Some(key)
    }

    fn on_due(&self, core: &mut Core, key: Key, due: Due, now: Instant) {
        match due {
            Due::Wake(lane) => {
                core.lanes.add(&key, lane, now);
            }
            Due::GiveUpWaiting => {
                core.gate.forget(&key);
                core.lanes.unpark(&key, now);
                core.lanes.add(&key, Lane::Background, now);
                self.metrics.unseen.inc();
                tracing::warn!(%key, "a write was not seen in time, the key is planned anyway");
            }
        }
    }

    /// Ends the work on `key`: it waits until the caches have seen `writes`, and comes back as `next` says.
    pub(crate) fn finish(&self, key: &Key, next: Next, writes: Vec<Written>) {
        let now = Instant::now();
        let mut core = self.core();
        let park_until = core.gate.expect(key, writes).then(|| now + SEEN_TIMEOUT);
        core.lanes.finish(key, next, park_until, now);
        self.settle(core);
    }

    /// Adds an informer whose writes are waited for.
    pub(crate) fn add_sight(&self, sight: Arc<dyn Sight>) -> usize {
        self.core().gate.add_sight(sight)
    }

    /// The informers that have been added.
    pub(crate) fn sights(&self) -> Vec<Arc<dyn Sight>> {
        self.core().gate.sights().to_vec()
    }

    /// An informer has seen something: keys that waited for it are let go.
    pub(crate) fn progress(&self, sight: usize, progress: Progress) {
        let now = Instant::now();
        let mut core = self.core();
        let released = core.gate.progress(sight, progress);
        if released.keys.is_empty() && released.missed.is_empty() {
            return;
        }
        for key in &released.missed {
            core.lanes.add(key, Lane::Background, now);
        }
        for key in &released.keys {
            core.lanes.unpark(key, now);
        }
        self.settle(core);
    }

    /// Waits until [`Queue::take`] may have something, or the next delayed key is due.
    pub(crate) async fn changed(&self) {
        let due = self.core().lanes.next_due();
        let changed = self.changed.notified();
        match due {
            None => changed.await,
            Some(due) => tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(due) => {}
            },
        }
    }

    fn settle(&self, core: MutexGuard<'_, Core>) {
        self.metrics.depth.set(depth(&core));
        drop(core);
        self.changed.notify_one();
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn depth(core: &Core) -> i64 {
    i64::try_from(core.lanes.waiting()).unwrap_or(i64::MAX)
}
