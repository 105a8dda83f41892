//! Services that have been deleted and whose Endpoints may still be there: Endpoints do not name their Service as an owner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::{Informer, Key};
use k8s_openapi::api::core::v1::Service;

/// Services that are remembered at most; Endpoints of more than these are left to whoever made them.
const MAX_KEYS: usize = 10_000;

/// The keys of Services that this process has seen go. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed(Arc<Mutex<BTreeSet<Key>>>);

impl Departed {
    /// Follows a cache of Services.
    pub(super) fn follow(services: &Informer<Service>) -> Self {
        let departed = Self::default();
        let noting = departed.clone();
        services.subscribe(move |delta| {
            let Some(service) = delta.latest() else { return };
            let mut keys = noting.keys();
            if delta.new.is_some() {
                keys.remove(&Key::of(&**service));
            } else if keys.len() < MAX_KEYS {
                keys.insert(Key::of(&**service));
            }
        });
        departed
    }

    /// Whether the Service was there and is not any more.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.keys().contains(key)
    }

    /// Its Endpoints are gone too.
    pub(super) fn forget(&self, key: &Key) {
        self.keys().remove(key);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
