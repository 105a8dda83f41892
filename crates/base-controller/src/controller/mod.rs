//! Runs a [`Reconciler`]: which changes wake which keys ([`Controller`]), and the loop that works on them (`driver`).
//!
//! ```no_run
//! # use base_controller::*;
//! # fn wire<R: Reconciler>(context: &Context, reconciler: R, informers: &Informers) -> ControllerHandle
//! # where R::Object: kube::Resource<DynamicType: Default> {
//! use k8s_openapi::api::apps::v1::Deployment;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! let primary = informers.get::<R::Object>(Scope::all());
//! Controller::new("revision", reconciler, &primary, context)
//!     .owns(&informers.get::<Deployment>(Scope::all()))
//!     .tracks(&informers.get::<ConfigMap>(Scope::namespace("knative-serving")))
//!     .start()
//! # }
//! ```
//! Every informer that a controller names is also waited for: for its first list before anything is planned, and for the controller's own
//! writes before a key is planned again. So a controller names every cache that its `gather` reads (the last resort is [`Controller::reads`]).

mod driver;
mod outcomes;
mod reconciler;

use std::sync::Arc;
use std::time::Duration;

use base_rt::Phase;
use base_rt::watch;
use tokio::sync::mpsc;

use crate::apply::Applier;
use crate::context::Context;
use crate::informer::{Delta, Informer, Sight};
use crate::key::{GroupKind, Key, ObjectRef};
use crate::object::{Object, owner_key_of};
use crate::queue::{Lane, Queue};
use crate::tracker::Tracker;
use driver::Driver;
use outcomes::Outcomes;
pub use reconciler::Reconciler;

const DEFAULT_WORKERS: usize = 8;
const DEFAULT_RESYNC: Duration = Duration::from_secs(10 * 60 * 60);

/// A controller being wired. [`Controller::start`] sets it to work.
pub struct Controller<R: Reconciler> {
    name: &'static str,
    reconciler: Arc<R>,
    primary: Informer<R::Object>,
    context: Context,
    queue: Arc<Queue>,
    tracker: Arc<Tracker>,
    workers: usize,
    resync: Duration,
}

impl<R: Reconciler> std::fmt::Debug for Controller<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A controller at work.
#[derive(Clone)]
pub struct ControllerHandle {
    queue: Arc<Queue>,
}

impl std::fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControllerHandle").finish_non_exhaustive()
    }
}

impl ControllerHandle {
    /// Has `key` looked at as soon as possible. For services that have written a fact into a cache.
    pub fn wake(&self, key: &Key) {
        self.queue.add(key, Lane::Fresh);
    }
}

impl<R: Reconciler> Controller<R> {
    /// A controller of the objects of `primary`: a change of one wakes its key. `name` is used for tasks, logs and metrics.
    pub fn new(name: &'static str, reconciler: R, primary: &Informer<R::Object>, context: &Context) -> Self {
        Self::of_those(name, reconciler, primary, context, |_| true)
    }

    /// As [`Controller::new`], of only those objects that `is_meant`: a change of one that was not and is not meant wakes nobody.
    pub fn of_those(
        name: &'static str,
        reconciler: R,
        primary: &Informer<R::Object>,
        context: &Context,
        is_meant: impl Fn(&R::Object) -> bool + Send + Sync + 'static,
    ) -> Self {
        let controller = Self {
            name,
            reconciler: Arc::new(reconciler),
            primary: primary.clone(),
            context: context.clone(),
            queue: Queue::new(context.controller_metrics.of(name)),
            tracker: Arc::new(Tracker::default()),
            workers: DEFAULT_WORKERS,
            resync: DEFAULT_RESYNC,
        };
        controller.watches(primary, move |delta| {
            let object = delta.latest().filter(|_| delta.both().any(|object| is_meant(object)));
            object.map(|object| Key::of(&**object)).into_iter().collect()
        })
    }

    /// A change of an object wakes the key of the primary object that controls it (owner reference with `controller: true`).
    #[must_use]
    pub fn owns<K: Object>(self, informer: &Informer<K>) -> Self {
        let kind = self.primary.kind().clone();
        self.watches(informer, move |delta| {
            delta.both().filter_map(|object| owner_key_of(object.meta(), &kind)).collect()
        })
    }

    /// A change of an object wakes the keys that `keys_of` names.
    #[must_use]
    pub fn watches<K: Object>(
        self,
        informer: &Informer<K>,
        keys_of: impl Fn(&Delta<'_, K>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        let queue = Arc::clone(&self.queue);
        informer.subscribe(move |delta| {
            for key in keys_of(delta) {
                queue.add(&key, lane_of(delta));
            }
        });
        self.reads(informer)
    }

    /// A change of an object wakes the keys whose last plan tracks it.
    #[must_use]
    pub fn tracks<K: Object>(self, informer: &Informer<K>) -> Self {
        let (queue, tracker) = (Arc::clone(&self.queue), Arc::clone(&self.tracker));
        let kind: GroupKind = informer.kind().clone();
        informer.subscribe(move |delta| {
            let Some(object) = delta.latest() else { return };
            for key in tracker.changed(&ObjectRef { kind: kind.clone(), key: Key::of(&**object) }) {
                queue.add(&key, lane_of(delta));
            }
        });
        self.reads(informer)
    }

    /// The cache is read, but its changes wake nobody.
    #[must_use]
    pub fn reads<K: Object>(self, informer: &Informer<K>) -> Self {
        let sight: Arc<dyn Sight> = Arc::new(informer.clone());
        let (queue, index) = (Arc::clone(&self.queue), self.queue.add_sight(sight));
        informer.on_progress(move |progress| queue.progress(index, progress));
        self
    }

    /// A change of the value (a configuration) wakes every key.
    #[must_use]
    pub fn wakes_all_on<T: Send + Sync + 'static>(self, mut value: watch::Receiver<T>) -> Self {
        let (queue, primary) = (Arc::clone(&self.queue), self.primary.clone());
        self.background("config", async move {
            while value.changed().await.is_ok() {
                primary.keys().iter().for_each(|key| queue.add(key, Lane::Background));
            }
        });
        self
    }

    /// Each key that arrives is woken: hints, and services that have no [`ControllerHandle`].
    #[must_use]
    pub fn wakes_on(self, mut keys: mpsc::Receiver<Key>) -> Self {
        let queue = Arc::clone(&self.queue);
        self.background("wake", async move {
            while let Some(key) = keys.recv().await {
                queue.add(&key, Lane::Fresh);
            }
        });
        self
    }

    /// Sets how many keys are worked on at once (8 if not set).
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets how often every key is looked at although nothing changed (every 10 hours if not set).
    #[must_use]
    pub fn with_resync(mut self, period: Duration) -> Self {
        self.resync = period;
        self
    }

    /// Starts working: once every cache has its first list, and while this process leads.
    pub fn start(self) -> ControllerHandle {
        let handle = ControllerHandle { queue: Arc::clone(&self.queue) };
        let (queue, primary, period) = (Arc::clone(&self.queue), self.primary.clone(), self.resync);
        self.background("resync", async move {
            loop {
                tokio::time::sleep(period).await;
                primary.keys().iter().for_each(|key| queue.add(key, Lane::Background));
            }
        });
        let outcomes = Arc::new(Outcomes::default());
        let driver = Driver {
            name: self.name,
            applier: Applier::new(self.context.client.clone()),
            metrics: self.context.controller_metrics.of(self.name),
            resource: self.primary.resource().clone(),
            outcomes: Arc::clone(&outcomes),
            reconciler: self.reconciler,
            primary: self.primary,
            context: self.context.clone(),
            queue: self.queue,
            tracker: self.tracker,
            workers: self.workers,
        };
        let driver = Arc::new(driver);
        driver.explain();
        self.context.tasks.spawn_worker(format!("controller/{}", self.name), async move {
            driver.run().await;
            Ok(())
        });
        handle
    }

    /// Runs `work` beside the controller until that ends. It may come to its end earlier, when nothing can wake it any more.
    fn background(&self, what: &str, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.context.tasks.shutdown().clone();
        self.context.tasks.spawn(format!("controller/{}/{what}", self.name), async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                () = work => shutdown.reached(Phase::Drained).await,
            }
            Ok(())
        });
    }
}

fn lane_of<K>(delta: &Delta<'_, K>) -> Lane {
    if delta.is_initial { Lane::Background } else { Lane::Fresh }
}
