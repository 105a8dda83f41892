//! Informers: one watch and one cache per kind and scope in a process, shared by everybody who reads that kind.
//!
//! An [`Informer`] serves `Arc<K>` in key order, by key, by namespace and by named [`Index`]; tells subscribers of every change as a
//! [`Delta`]; and knows the highest revision that it has seen, which is how a controller waits for its own writes. [`Informers`] makes them.
//!
//! ```text
//! kube watcher ──► watch (back-off, bad objects) ──► cache ──► subscribers (keys into queues) ──► progress (who waits for revision r)
//! ```
//! The order within one event is fixed: cache, subscribers, progress. `managedFields` are dropped on the way in (a PUT without them keeps
//! the server's). An object that does not decode harms only itself: its last good form stays, a metric and a warning name it.
//!
//! Subscribers are called from the watch's task with no lock of the cache held; they must be short and must not subscribe.

mod cache;
mod registry;
mod sight;
mod watch;
mod wire;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base_rt::watch as level;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;

use crate::key::{GroupKind, Key};
use crate::metrics::WatchMetrics;
use crate::object::{Object, Revision};
use crate::scope::Scope;
use cache::Cache;
pub use cache::IndexFn;
pub use registry::Informers;
pub(crate) use sight::{Progress, Sight};

/// Objects that one cache holds at most. What comes beyond is not cached, logged and counted.
pub const MAX_OBJECTS: usize = 500_000;

/// One change of one object, as a subscriber sees it.
#[derive(Debug)]
pub struct Delta<'a, K> {
    /// The object before; none if it is new here.
    pub old: Option<&'a Arc<K>>,
    /// The object now; none if it is gone.
    pub new: Option<&'a Arc<K>>,
    /// Part of the first list (or of the replay to a new subscriber) rather than something that has just happened.
    pub is_initial: bool,
}

impl<K> Delta<'_, K> {
    /// The object in its latest form: as it is, or as it was last.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.or(self.old)
    }

    /// Both forms that there are, old first: what mapped an object to a key before the change may differ from what does now.
    pub fn both(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.into_iter().chain(self.new)
    }
}

type OnChange<K> = Box<dyn Fn(&Delta<'_, K>) + Send + Sync>;
type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;

/// A live cache of one kind and scope. Clones share it. Made by [`Informers`].
#[derive(Clone)]
pub struct Informer<K: Object> {
    shared: Arc<Shared<K>>,
}

impl<K: Object> std::fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer").field("kind", &self.shared.kind).field("scope", &self.shared.scope).finish()
    }
}

struct Shared<K: Object> {
    kind: GroupKind,
    resource: ApiResource,
    scope: Scope,
    cache: RwLock<Cache<K>>,
    /// Held while an event is handed out, so that a new subscriber sees each object exactly once.
    subscribers: Mutex<Subscribers<K>>,
    seen: AtomicU64,
    /// How often the watch has begun to list.
    lists: AtomicU64,
    synced: level::Sender<bool>,
    changes: level::Sender<u64>,
    metrics: WatchMetrics,
}

struct Subscribers<K> {
    on_change: Vec<OnChange<K>>,
    on_progress: Vec<OnProgress>,
}

/// A named index of an informer: objects by a value computed from them.
#[derive(Clone, Debug)]
pub struct Index<K: Object> {
    informer: Informer<K>,
    slot: usize,
}

impl<K: Object> Index<K> {
    /// The objects that have `value` under this index, in key order.
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        self.informer.read(|cache| cache.indexed(self.slot, value).map(Arc::clone).collect())
    }
}

impl<K: Object> Informer<K> {
    fn new(resource: ApiResource, scope: Scope, metrics: WatchMetrics) -> Self {
        let subscribers = Subscribers { on_change: Vec::new(), on_progress: Vec::new() };
        let shared = Shared {
            kind: GroupKind::from(&resource),
            resource,
            scope,
            cache: RwLock::new(Cache::new()),
            subscribers: Mutex::new(subscribers),
            seen: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            synced: level::Sender::new(false),
            changes: level::Sender::new(0),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The kind that is watched.
    pub fn kind(&self) -> &GroupKind {
        &self.shared.kind
    }

    /// The kind as the API names it.
    pub fn resource(&self) -> &ApiResource {
        &self.shared.resource
    }

    /// What tells this informer from the others of its type.
    fn identity(&self) -> String {
        registry::identity(&self.shared.resource, &self.shared.scope)
    }

    /// The object at `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|cache| cache.get(key).map(Arc::clone))
    }

    /// Every object, in key order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|cache| cache.objects().map(|(_, object)| Arc::clone(object)).collect())
    }

    /// The objects of one namespace, in key order.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|cache| cache.in_namespace(namespace).map(Arc::clone).collect())
    }

    /// Every object's key, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.read(|cache| cache.objects().map(|(key, _)| key.clone()).collect())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(Cache::len)
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index `name`, made at the first call; asking again for the same name gives the same index (and ignores `values_of`).
    pub fn index(&self, name: &'static str, values_of: IndexFn<K>) -> Index<K> {
        let slot = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner).index(name, values_of);
        Index { informer: self.clone(), slot }
    }

    /// Waits until the first list is in the cache. It stays so: a later relist keeps serving what is known.
    pub async fn synced(&self) {
        // The sender lives as long as this informer, so waiting cannot fail.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is in the cache.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// A level that moves with every change of the cache, for whoever recomputes something from all of it.
    pub fn changes(&self) -> level::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The revision up to which the cache has seen every change: the highest of any object of this watch, or of a list that is complete.
    pub fn seen(&self) -> Revision {
        Revision(self.shared.seen.load(Ordering::Acquire))
    }

    /// Calls `on_change` for every object that is there, now, and for every change from here on.
    pub fn subscribe(&self, on_change: impl Fn(&Delta<'_, K>) + Send + Sync + 'static) {
        let mut subscribers = self.subscribers();
        for object in self.list() {
            on_change(&Delta { old: None, new: Some(&object), is_initial: true });
        }
        subscribers.on_change.push(Box::new(on_change));
    }

    pub(crate) fn on_progress(&self, on_progress: impl Fn(Progress) + Send + Sync + 'static) {
        self.subscribers().on_progress.push(Box::new(on_progress));
    }

    fn read<T>(&self, read: impl FnOnce(&Cache<K>) -> T) -> T {
        read(&self.shared.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn subscribers(&self) -> std::sync::MutexGuard<'_, Subscribers<K>> {
        self.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, object: K) {
        let subscribers = self.subscribers();
        let revision = Revision::of(object.meta());
        self.put(&subscribers, object);
        self.progress(&subscribers, revision);
    }

    /// Puts an object of a list under way into the cache. What the cache has seen is not told by it: objects with lower revisions follow.
    fn apply_listed(&self, object: K) {
        let subscribers = self.subscribers();
        self.put(&subscribers, object);
        self.progress(&subscribers, None);
    }

    fn put(&self, subscribers: &Subscribers<K>, mut object: K) {
        object.meta_mut().managed_fields = None;
        let key = Key::of(&object);
        let object = Arc::new(object);
        if let Some(old) = self.store(&key, &object) {
            let delta = Delta { old: old.as_ref(), new: Some(&object), is_initial: !self.is_synced() };
            self.publish(subscribers, &delta);
        }
    }

    /// Puts the object into the cache and returns what was there; none if nothing changed.
    fn store(&self, key: &Key, object: &Arc<K>) -> Option<Option<Arc<K>>> {
        let mut cache = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = match cache.get(key) {
            Some(old) if is_same(old.meta(), object.meta()) => return None,
            Some(_) => false,
            None => true,
        };
        if is_new && cache.len() >= MAX_OBJECTS {
            self.shared.metrics.overflow.inc();
            tracing::error!(kind = %self.shared.kind, object = %key, "cache is full, object is not watched");
            return None;
        }
        let old = cache.set(key, Arc::clone(object));
        self.shared.metrics.objects.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
        Some(old)
    }

    fn delete(&self, object: &K) {
        let subscribers = self.subscribers();
        self.forget(&subscribers, &Key::of(object));
        self.progress(&subscribers, Revision::of(object.meta()));
    }

    fn forget(&self, subscribers: &Subscribers<K>, key: &Key) {
        let old = {
            let mut cache = self.shared.cache.write().unwrap_or_else(PoisonError::into_inner);
            let old = cache.remove(key);
            self.shared.metrics.objects.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
            old
        };
        if let Some(old) = old {
            self.publish(subscribers, &Delta { old: Some(&old), new: None, is_initial: false });
        }
    }

    fn publish(&self, subscribers: &Subscribers<K>, delta: &Delta<'_, K>) {
        self.shared.metrics.events.inc();
        for on_change in &subscribers.on_change {
            on_change(delta);
        }
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Everything up to `revision` has been seen; none if only an object has come.
    fn progress(&self, subscribers: &Subscribers<K>, revision: Option<Revision>) {
        self.raise(revision);
        for on_progress in &subscribers.on_progress {
            on_progress(Progress::Object);
        }
    }

    fn raise(&self, revision: Option<Revision>) {
        if let Some(revision) = revision {
            self.shared.seen.fetch_max(revision.0, Ordering::AcqRel);
        }
    }

    /// A list begins.
    fn begin_list(&self) {
        self.shared.lists.fetch_add(1, Ordering::AcqRel);
    }

    /// A list is complete, with `revision` as the highest of its objects: what it did not contain is gone.
    fn end_list(&self, listed: &BTreeSet<Key>, revision: Option<Revision>) {
        let subscribers = self.subscribers();
        for key in self.keys().iter().filter(|key| !listed.contains(*key)) {
            self.forget(&subscribers, key);
        }
        self.raise(revision);
        self.shared.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
        let list = self.shared.lists.load(Ordering::Acquire);
        for on_progress in &subscribers.on_progress {
            on_progress(Progress::Listed(list));
        }
    }
}

fn is_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.resource_version.is_some() && old.resource_version == new.resource_version && old.uid == new.uid
}
