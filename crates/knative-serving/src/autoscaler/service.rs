//! The task that owns the deciders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_controller::{Context, Key};
use base_rt::watch;
use base_rt::{Clock, Phase};
use jiff::Timestamp;
use knative_apis::autoscaling::{KPA, PodAutoscaler};
use knative_apis::config::Autoscaler;
use knative_apis::meta::label;
use knative_apis::stat::StatMessage;
use knative_logic::names;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::decider::Decider;
use super::facts::DecisionFacts;
use super::metrics;
use crate::caches::{Caches, Informed, index_value, labelled_key};
use crate::config::ConfigStores;
use crate::pod_autoscaler::make_metric;
use crate::pods;
use crate::waker::Waker;

/// How often every Revision that is awake is decided on.
const TICK: Duration = Duration::from_secs(2);
/// Statistics that are taken in one go.
const BATCH: usize = 256;

/// What the autoscaler listens to and speaks to.
pub(crate) struct Inputs {
    /// What the activator and queue-proxies report.
    pub(crate) stats: mpsc::Receiver<StatMessage>,
    /// Where decisions go.
    pub(crate) decisions: DecisionFacts,
    /// Whom they wake.
    pub(crate) waker: Waker,
}

/// Keys whose objects changed, for the task.
#[derive(Clone, Default)]
pub(super) struct Changed {
    keys: Arc<Mutex<BTreeSet<Key>>>,
    notify: Arc<Notify>,
}

/// Starts the autoscaler.
pub(crate) fn start(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
    inputs: Inputs,
) {
    let changed = Changed::default();
    let of_objects = changed.clone();
    informed.pod_autoscalers.subscribe(move |delta| {
        delta.latest().iter().for_each(|autoscaler| of_objects.add(Key::of(&***autoscaler)));
    });
    let of_pods = changed.clone();
    informed.pods.subscribe(move |delta| {
        let revision = delta.latest().and_then(|pod| labelled_key(&**pod, label::REVISION));
        revision.into_iter().for_each(|key| of_pods.add(key));
    });
    let Inputs { stats, decisions, waker } = inputs;
    metrics::register(&context.metrics, decisions.clone(), caches.clone());
    let (deciders, awake) = (BTreeMap::new(), BTreeSet::new());
    let (caches, config, clock) = (caches.clone(), configs.autoscaler(), context.clock);
    let service = Service { caches, config, clock, decisions, waker, deciders, awake };
    let shutdown = context.tasks.shutdown().clone();
    let (autoscalers, pods, maps) = (informed.pod_autoscalers.clone(), informed.pods.clone(), configs.maps().clone());
    context.tasks.spawn("autoscaler", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = async {
                // A decider born before its Pods are seen would take them for gone.
                tokio::join!(autoscalers.synced(), pods.synced(), maps.synced());
                service.run(stats, changed).await;
            } => {}
        }
        Ok(())
    });
}

impl Changed {
    pub(super) fn add(&self, key: Key) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Service {
    pub(super) caches: Caches,
    pub(super) config: watch::Receiver<Arc<Autoscaler>>,
    pub(super) clock: Clock,
    pub(super) decisions: DecisionFacts,
    pub(super) waker: Waker,
    pub(super) deciders: BTreeMap<Key, Decider>,
    /// The Revisions that are decided on at every tick.
    pub(super) awake: BTreeSet<Key>,
}

impl Service {
    pub(super) async fn run(mut self, mut stats: mpsc::Receiver<StatMessage>, changed: Changed) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut next_tick = Instant::now() + TICK;
        let mut config = self.config.clone();
        loop {
            tokio::select! {
                // Statistics come last: there may always be some.
                biased;
                () = changed.notify.notified() => {
                    let now = self.clock.now();
                    changed.take().iter().for_each(|key| self.observe(key, now));
                }
                Ok(()) = config.changed() => {
                    let (now, keys) = (self.clock.now(), self.deciders.keys().cloned().collect::<Vec<_>>());
                    keys.iter().for_each(|key| self.observe(key, now));
                }
                () = tokio::time::sleep_until(next_tick), if !self.awake.is_empty() => {
                    self.tick(self.clock.now());
                    // The beat is kept, but ticks that nobody was awake for are not made up for.
                    let now = Instant::now();
                    next_tick = if next_tick + TICK > now { next_tick + TICK } else { now + TICK };
                }
                count = stats.recv_many(&mut batch, BATCH), if !stats.is_closed() || !stats.is_empty() => {
                    tracing::trace!(count, "statistics");
                    let now = self.clock.now();
                    for message in batch.drain(..) {
                        self.record(&message, now);
                    }
                }
            }
        }
    }

    /// A PodAutoscaler, or the Pods of its Revision, changed.
    fn observe(&mut self, key: &Key, now: Timestamp) {
        let Some(autoscaler) = self.caches.pod_autoscalers.get(key).filter(|autoscaler| is_ours(autoscaler)) else {
            self.deciders.remove(key);
            self.awake.remove(key);
            self.decisions.forget(key);
            return;
        };
        let config = Arc::clone(&self.config.borrow());
        let metric = make_metric(&autoscaler, &names::private_service(key.name()), &config);
        let ready = self.ready(key);
        match self.deciders.get_mut(key) {
            Some(decider) => decider.update((&autoscaler, &metric), &config, now),
            None => {
                let decider = Decider::new((&autoscaler, &metric), &config, ready, now);
                self.deciders.insert(key.clone(), decider);
            }
        }
        self.awake.insert(key.clone());
    }

    fn record(&mut self, message: &StatMessage, now: Timestamp) {
        let key = Key::new(message.key.namespace.as_str(), message.key.name.as_str());
        let Some(decider) = self.deciders.get_mut(&key) else {
            tracing::debug!(revision = %key, "statistics about no known revision");
            return;
        };
        let is_urgent = decider.record(&message.stat, now);
        self.awake.insert(key.clone());
        if is_urgent {
            self.decide(&key, now);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        for key in self.awake.clone() {
            let ready = self.ready(&key);
            if let Some(decider) = self.deciders.get_mut(&key).filter(|_| ready > 0) {
                decider.record_silence(now);
            }
            self.decide(&key, now);
            if self.deciders.get(&key).is_none_or(|decider| decider.is_idle(ready, now)) {
                self.awake.remove(&key);
            }
        }
    }

    fn decide(&mut self, key: &Key, now: Timestamp) {
        let ready = self.ready(key);
        let Some(decider) = self.deciders.get_mut(key) else { return };
        let Some(fact) = decider.decide(ready, now) else { return };
        if self.decisions.set(key, fact) {
            self.waker.wake(key);
        }
    }

    fn ready(&self, key: &Key) -> i32 {
        pods::ready_count(&self.caches.pods_of_revision.get(&index_value(key)))
    }
}

fn is_ours(autoscaler: &PodAutoscaler) -> bool {
    autoscaler.metadata.deletion_timestamp.is_none() && autoscaler.class() == KPA
}
