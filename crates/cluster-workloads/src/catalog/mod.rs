//! Every kind that the API serves, and the metadata of every object: what owner GC, namespace deletion and quotas work on.
//!
//! ```text
//! discovery (at start, when a CustomResourceDefinition changes, and now and then) ─► kinds ─► one metadata-only informer each ─► subscribers
//! ```
//! Only what those controllers read is kept of an object (see [`Metadata`]). Kinds that cannot be watched, and Events (many, short-lived, never
//! owners), are known but not watched. A kind that goes ends its watch; its objects are told as gone.
//!
//! Discovery that fails keeps what is known, and is tried again with a growing delay.

mod kinds;
mod metadata;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_controller::{Context, Delta, GroupKind, Informer, Informers, Scope};
use base_rt::backoff::Backoff;
use base_rt::watch;
use base_rt::{Phase, Tasks, error_chain};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;

pub(crate) use kinds::Kind;
pub(crate) use metadata::Metadata;

/// Discovery happens at least this often, for kinds that come by other ways than a CustomResourceDefinition.
const REFRESH: Duration = Duration::from_secs(300);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How long is waited for the objects of a kind to be listed first.
const PATIENCE: Duration = Duration::from_secs(30);

type OnChange = Arc<dyn Fn(&Kind, &Delta<'_, Metadata>) + Send + Sync>;

/// A kind and its objects' metadata, if it is watched.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The kind.
    pub(crate) kind: Arc<Kind>,
    /// Its objects.
    pub(crate) objects: Option<Informer<Metadata>>,
}

/// The catalog. Clones share it.
#[derive(Clone)]
pub(crate) struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    informers: Informers,
    tasks: Tasks,
    state: Mutex<State>,
    /// Moves when kinds come or go, and when one's objects have been listed first.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<GroupKind, Entry>,
    subscribers: Vec<OnChange>,
    failure: Option<String>,
    is_discovered: bool,
    /// Kinds whose objects nobody waits for any more: they cannot be listed, such as those of a conversion webhook that is down.
    unlisted: BTreeSet<GroupKind>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl Catalog {
    /// Starts to follow discovery, with the client and the informers of `context`.
    pub(crate) fn start(context: &Context) -> Self {
        let shared = Shared {
            client: context.client.clone(),
            informers: context.informers.clone(),
            tasks: context.tasks.clone(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        let catalog = Self { shared: Arc::new(shared) };
        let following = catalog.clone();
        let definitions = context.informers.get::<CustomResourceDefinition>(Scope::all());
        let shutdown = context.tasks.shutdown().clone();
        context.tasks.spawn("catalog/discovery", async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                () = following.follow(definitions.changes()) => {}
            }
            Ok(())
        });
        catalog
    }

    /// The kind, if the API serves it.
    pub(crate) fn get(&self, kind: &GroupKind) -> Option<Entry> {
        self.state().entries.get(kind).cloned()
    }

    /// Every kind, in order.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.state().entries.values().cloned().collect()
    }

    /// Calls `on_change` for every object that is there, and for every change from here on, of every kind. It must be short.
    pub(crate) fn subscribe(&self, on_change: impl Fn(&Kind, &Delta<'_, Metadata>) + Send + Sync + 'static) {
        let on_change: OnChange = Arc::new(on_change);
        let entries = {
            let mut state = self.state();
            state.subscribers.push(Arc::clone(&on_change));
            state.entries.clone()
        };
        for entry in entries.values() {
            subscribe(entry, &on_change);
        }
    }

    /// Whether the server has told its kinds.
    pub(crate) fn is_discovered(&self) -> bool {
        self.state().is_discovered
    }

    /// Whether every kind is known and every object of those that are watched has been listed, but for those that cannot be.
    pub(crate) fn is_complete(&self) -> bool {
        let state = self.state();
        let is_listed = |(name, entry): (&GroupKind, &Entry)| {
            entry.objects.as_ref().is_none_or(Informer::is_synced) || state.unlisted.contains(name)
        };
        state.is_discovered && state.failure.is_none() && state.entries.iter().all(is_listed)
    }

    /// Why discovery did not work the last time.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// A level that moves whenever [`Catalog::is_complete`] or the kinds may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Discovers for ever.
    async fn follow(&self, mut definitions: watch::Receiver<u64>) {
        let mut retries = Backoff::new(FIRST_RETRY, MAX_RETRY);
        loop {
            definitions.mark_unchanged();
            let pause = match kinds::discover(&self.shared.client).await {
                Ok(kinds) => {
                    retries.reset();
                    self.update(kinds);
                    REFRESH
                }
                Err(error) => {
                    let failure = error_chain(&error);
                    tracing::warn!(error = failure, "discovery failed");
                    self.state().failure = Some(failure);
                    self.moved();
                    retries.next_delay()
                }
            };
            tokio::select! {
                biased;
                Ok(()) = definitions.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn update(&self, kinds: Vec<Kind>) {
        let kinds: BTreeMap<GroupKind, Kind> = kinds.into_iter().map(|kind| (kind.group_kind(), kind)).collect();
        let (gone, added) = {
            let mut state = self.state();
            state.failure = None;
            state.is_discovered = true;
            let is_gone = |name: &GroupKind, entry: &mut Entry| kinds.get(name) != Some(&*entry.kind);
            let gone: Vec<Entry> = state.entries.extract_if(.., is_gone).map(|(_, entry)| entry).collect();
            for entry in &gone {
                state.unlisted.remove(&entry.kind.group_kind());
            }
            let added: Vec<Kind> =
                kinds.into_iter().filter(|(name, _)| !state.entries.contains_key(name)).map(|(_, kind)| kind).collect();
            (gone, added)
        };
        gone.iter().for_each(|entry| self.remove(entry));
        added.into_iter().for_each(|kind| self.add(kind));
        self.moved();
    }

    fn add(&self, kind: Kind) {
        let objects = kind
            .is_watched()
            .then(|| self.shared.informers.of_resource::<Metadata>(kind.resource.clone(), Scope::all()));
        let entry = Entry { kind: Arc::new(kind), objects };
        let subscribers = {
            let mut state = self.state();
            state.entries.insert(entry.kind.group_kind(), entry.clone());
            state.subscribers.clone()
        };
        for on_change in &subscribers {
            subscribe(&entry, on_change);
        }
        if let Some(objects) = entry.objects {
            self.tell_when_listed(&entry.kind, objects);
        }
    }

    fn tell_when_listed(&self, kind: &Kind, objects: Informer<Metadata>) {
        let (catalog, shutdown) = (self.clone(), self.shared.tasks.shutdown().clone());
        let name = kind.group_kind();
        self.shared.tasks.spawn_transient(format!("catalog/{name}"), async move {
            let listed = async {
                if tokio::time::timeout(PATIENCE, objects.synced()).await.is_err() {
                    tracing::warn!(kind = %name, "the objects cannot be listed; what waits for them goes on without");
                    catalog.state().unlisted.insert(name.clone());
                    catalog.moved();
                    objects.synced().await;
                    catalog.state().unlisted.remove(&name);
                }
                catalog.moved();
            };
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                () = listed => {}
            }
        });
    }

    fn remove(&self, entry: &Entry) {
        let Some(objects) = &entry.objects else { return };
        self.shared.informers.forget(objects);
        let subscribers = self.state().subscribers.clone();
        for object in objects.list() {
            let delta = Delta { old: Some(&object), new: None, is_initial: false };
            subscribers.iter().for_each(|on_change| on_change(&entry.kind, &delta));
        }
    }

    fn moved(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subscribe(entry: &Entry, on_change: &OnChange) {
    if let Some(objects) = &entry.objects {
        let (kind, on_change) = (Arc::clone(&entry.kind), Arc::clone(on_change));
        objects.subscribe(move |delta| on_change(&kind, delta));
    }
}
