//! The process's informers: asking twice for the same kind and scope gives the same watch.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base_rt::metrics::Scope as MetricScope;
use base_rt::{Phase, Tasks};
use kube::Client;
use kube::api::{ApiResource, DynamicObject};
use tokio::task::AbortHandle;

use super::{Informer, watch};
use crate::metrics::InformerMetrics;
use crate::object::Object;
use crate::scope::Scope;

/// Makes and keeps informers. Clones share them. One per client, that is, per role of the process.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    tasks: Tasks,
    seed: u64,
    metrics: InformerMetrics,
    made: Mutex<BTreeMap<Identity, Made>>,
}

struct Made {
    informer: Box<dyn Any + Send>,
    watch: AbortHandle,
}

type Identity = (TypeId, String);

impl std::fmt::Debug for Informers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informers").finish_non_exhaustive()
    }
}

impl Informers {
    /// No informer yet. `seed` decides the jitter of back-offs, and nothing else.
    pub fn new(client: Client, tasks: Tasks, metrics: &MetricScope, seed: u64) -> Self {
        let metrics = InformerMetrics::new(&metrics.sub("informer"));
        Self { shared: Arc::new(Shared { client, tasks, seed, metrics, made: Mutex::new(BTreeMap::new()) }) }
    }

    /// The informer of kind `K` in `scope`. Its watch starts at the first call.
    pub fn get<K: Object<DynamicType: Default>>(&self, scope: Scope) -> Informer<K> {
        self.of_resource(ApiResource::erase::<K>(&K::DynamicType::default()), scope)
    }

    /// The informer of a kind known only at run time.
    pub fn dynamic(&self, resource: ApiResource, scope: Scope) -> Informer<DynamicObject> {
        self.of_resource(resource, scope)
    }

    /// The informer of `resource`, decoded as `K`: `DynamicObject`, `PartialObjectMeta<DynamicObject>` (metadata only), or a type of one's own.
    pub fn of_resource<K: Object>(&self, resource: ApiResource, scope: Scope) -> Informer<K> {
        let name = identity(&resource, &scope);
        let mut made = self.shared.made.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = (TypeId::of::<K>(), name);
        if let Some(informer) = made.get(&identity).and_then(|made| made.informer.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer::new(resource, scope, self.shared.metrics.of(&identity.1));
        let watch = self.start(&informer, &identity.1);
        made.insert(identity, Made { informer: Box::new(informer.clone()), watch });
        informer
    }

    /// Ends the watch of an informer whose kind is gone. Whoever holds it keeps what it has seen last; asking again starts a new one.
    pub fn forget<K: Object>(&self, informer: &Informer<K>) {
        let mut made = self.shared.made.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = (TypeId::of::<K>(), informer.identity());
        if let Some(made) = made.remove(&identity) {
            made.watch.abort();
        }
    }

    fn start<K: Object>(&self, informer: &Informer<K>, name: &str) -> AbortHandle {
        let shutdown = self.shared.tasks.shutdown().clone();
        let following = watch::follow(informer.clone(), self.shared.client.clone(), self.shared.seed ^ fnv1a(name));
        self.shared.tasks.spawn(format!("informer/{name}"), async move {
            // Controllers finish the key in hand after `Drained`, and may wait for what they wrote.
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped) => {}
                () = following => {}
            }
            Ok(())
        })
    }
}

/// One text per kind and scope.
pub(super) fn identity(resource: &ApiResource, scope: &Scope) -> String {
    format!("{}/{}?{}", resource.api_version, resource.plural, scope.id())
}

/// A stable hash, so that each watch draws its own jitter from the one seed.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
