//! The task behind an informer: follows kube's `watcher` for ever, with a seeded back-off, and feeds the cache.
//!
//! The watch carries objects as text ([`Wire`]); each is decoded here, so that one that does not decode harms only itself.

use std::collections::BTreeSet;
use std::time::Duration;

use base_rt::backoff::Backoff;
use base_rt::error_chain;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Informer;
use super::wire::{Undecodable, Wire};
use crate::key::Key;
use crate::object::{Object, Revision};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// An object of a watch: in its type, or the reason why it is not.
type Decoded<K> = Result<K, Box<Undecodable>>;

/// Follows the watch of `informer`. Never returns.
pub(super) async fn follow<K: Object>(informer: Informer<K>, client: Client, seed: u64) {
    let mut delays =
        Delays { backoff: Backoff::new(FIRST_BACKOFF, MAX_BACKOFF), random: SmallRng::seed_from_u64(seed) };
    let mut events = match K::metadata_api() {
        true => events::<K, true>(&informer, client),
        false => events::<K, false>(&informer, client),
    };
    let mut listed = Listed::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let is_success = !matches!(event, Event::Init);
                take(&informer, event, &mut listed);
                if is_success {
                    delays.backoff.reset();
                }
            }
            Err(error) => {
                let delay = delays.next();
                informer.shared.metrics.failures.inc();
                tracing::warn!(kind = %informer.kind(), error = error_chain(&error), ?delay, "watch failed");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// What a list under way has brought. It comes in pages, in the order of names, and shows one moment only once it is complete.
#[derive(Default)]
struct Listed {
    keys: BTreeSet<Key>,
    revision: Option<Revision>,
}

fn take<K: Object>(informer: &Informer<K>, event: Event<Decoded<K>>, listed: &mut Listed) {
    match event {
        Event::Init => {
            *listed = Listed::default();
            informer.begin_list();
        }
        Event::InitApply(object) => {
            let meta = meta_of(&object);
            listed.keys.insert(key_in(meta));
            listed.revision = listed.revision.max(Revision::of(meta));
            match object {
                Ok(object) => informer.apply_listed(object),
                Err(bad) => complain(informer, &bad),
            }
        }
        Event::InitDone => {
            let Listed { keys, revision } = std::mem::take(listed);
            informer.end_list(&keys, revision);
        }
        Event::Apply(Ok(object)) => informer.apply(object),
        Event::Apply(Err(bad)) => {
            complain(informer, &bad);
            informer.progress(&informer.subscribers(), Revision::of(&bad.meta));
        }
        Event::Delete(Ok(object)) => informer.delete(&object),
        Event::Delete(Err(bad)) => {
            let subscribers = informer.subscribers();
            informer.forget(&subscribers, &key_in(&bad.meta));
            informer.progress(&subscribers, Revision::of(&bad.meta));
        }
    }
}

fn complain<K: Object>(informer: &Informer<K>, bad: &Undecodable) {
    informer.shared.metrics.undecodable.inc();
    let (key, reason) = (key_in(&bad.meta), &bad.reason);
    tracing::warn!(kind = %informer.kind(), object = %key, reason, "object does not decode; its last good form is kept");
}

type Events<K> = BoxStream<'static, watcher::Result<Event<Decoded<K>>>>;

fn events<K: Object, const METADATA: bool>(informer: &Informer<K>, client: Client) -> Events<K> {
    let api: Api<Wire<METADATA>> = match informer.shared.scope.namespaced_to() {
        Some(namespace) => Api::namespaced_with(client, namespace, informer.resource()),
        None => Api::all_with(client, informer.resource()),
    };
    // Boxed before it is mapped, so that what differs between kinds is small.
    let raw = watcher(api, informer.shared.scope.watch_config()).boxed();
    raw.map(|event| event.map(decode)).boxed()
}

fn decode<K: Object, const METADATA: bool>(event: Event<Wire<METADATA>>) -> Event<Decoded<K>> {
    match event {
        Event::Apply(object) => Event::Apply(object.parse()),
        Event::Delete(object) => Event::Delete(object.parse()),
        Event::InitApply(object) => Event::InitApply(object.parse()),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

fn meta_of<K: Object>(object: &Decoded<K>) -> &ObjectMeta {
    match object {
        Ok(object) => object.meta(),
        Err(bad) => &bad.meta,
    }
}

fn key_in(meta: &ObjectMeta) -> Key {
    Key::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// A doubling delay, stretched by up to a half from a seeded source: repeatable in a simulation, spread in production.
struct Delays {
    backoff: Backoff,
    random: SmallRng,
}

impl Delays {
    fn next(&mut self) -> Duration {
        self.backoff.next_delay().mul_f64(1.0 + self.random.random_range(0.0..0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Written;
    use crate::informer::Sight;
    use crate::metrics::InformerMetrics;
    use crate::scope::Scope;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ApiResource;

    fn config_map(name: &str, revision: u64) -> ConfigMap {
        let (name, resource_version) = (Some(name.to_owned()), Some(revision.to_string()));
        ConfigMap { metadata: ObjectMeta { name, resource_version, ..ObjectMeta::default() }, ..ConfigMap::default() }
    }

    #[test]
    fn a_list_has_seen_nothing_before_its_end() {
        let metrics = InformerMetrics::new(&base_rt::metrics::Scope::root()).of("test");
        let informer = Informer::<ConfigMap>::new(ApiResource::erase::<ConfigMap>(&()), Scope::all(), metrics);
        let mut listed = Listed::default();
        take(&informer, Event::Init, &mut listed);
        take(&informer, Event::InitApply(Ok(config_map("a", 9))), &mut listed);
        let written = config_map("b", 7);
        let written = Written {
            kind: informer.kind().clone(),
            key: Key::of(&written),
            revision: Some(Revision(7)),
            meta: written.metadata,
        };
        assert!(!informer.has_seen(&written), "the page with it has not come");
        take(&informer, Event::InitApply(Ok(config_map("b", 7))), &mut listed);
        take(&informer, Event::InitDone, &mut listed);
        assert!(informer.has_seen(&written));
        assert_eq!(informer.seen(), Revision(9));
        take(&informer, Event::Apply(Ok(config_map("a", 10))), &mut listed);
        assert_eq!(informer.seen(), Revision(10));
    }
}
