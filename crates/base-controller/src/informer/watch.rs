//! The task behind an informer: follows kube's `watcher` for ever, with a seeded back-off, and feeds the cache.
//!
//! Decoding straight into `K` is the rule. When an object does not decode, the watch starts again through kube's `DeserializeGuard`, which
//! costs an intermediate value per object but tells the bad one from the others, and stays so for the life of the process.

use std::collections::BTreeSet;
use std::time::Duration;

use base_rt::backoff::Backoff;
use base_rt::error_chain;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Informer;
use super::wire::Wire;
use crate::key::Key;
use crate::object::{Object, Revision};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// An object of a watch: in its type, or the reason why it is not.
type Decoded<K> = Result<K, Box<Undecodable>>;

struct Undecodable {
    meta: ObjectMeta,
    reason: String,
}

/// Follows the watch of `informer`. Never returns.
pub(super) async fn follow<K: Object>(informer: Informer<K>, client: Client, seed: u64) {
    let mut delays =
        Delays { backoff: Backoff::new(FIRST_BACKOFF, MAX_BACKOFF), random: SmallRng::seed_from_u64(seed) };
    let mut events = strict(&informer, client.clone());
    let mut is_guarded = false;
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
            Err(error) if !is_guarded && is_undecodable(&error) => {
                tracing::warn!(kind = %informer.kind(), error = error_chain(&error), "an object does not decode; it is left out");
                is_guarded = true;
                events = guarded(&informer, client.clone());
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

fn strict<K: Object>(informer: &Informer<K>, client: Client) -> BoxStream<'static, watcher::Result<Event<Decoded<K>>>> {
    let api: Api<Wire<K>> = api(informer, client);
    decode(watcher(api, informer.shared.scope.watch_config()), |Wire(object)| Ok(object))
}

fn guarded<K: Object>(
    informer: &Informer<K>,
    client: Client,
) -> BoxStream<'static, watcher::Result<Event<Decoded<K>>>> {
    let api: Api<DeserializeGuard<Wire<K>>> = api(informer, client);
    decode(watcher(api, informer.shared.scope.watch_config()), |DeserializeGuard(result)| match result {
        Ok(Wire(object)) => Ok(object),
        Err(invalid) => Err(Box::new(Undecodable { meta: invalid.metadata, reason: invalid.error })),
    })
}

fn api<K: Object, W>(informer: &Informer<K>, client: Client) -> Api<W>
where
    W: Resource<DynamicType = kube::api::ApiResource, Scope = kube::core::DynamicResourceScope>,
{
    match informer.shared.scope.namespaced_to() {
        Some(namespace) => Api::namespaced_with(client, namespace, informer.resource()),
        None => Api::all_with(client, informer.resource()),
    }
}

fn decode<W: 'static, K: Object>(
    events: impl Stream<Item = watcher::Result<Event<W>>> + Send + 'static,
    decode: fn(W) -> Decoded<K>,
) -> BoxStream<'static, watcher::Result<Event<Decoded<K>>>> {
    let one = move |event| match event {
        Event::Apply(object) => Event::Apply(decode(object)),
        Event::Delete(object) => Event::Delete(decode(object)),
        Event::InitApply(object) => Event::InitApply(decode(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    };
    events.map(move |event| event.map(one)).boxed()
}

fn is_undecodable(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause)
    | watcher::Error::WatchStartFailed(cause)
    | watcher::Error::WatchFailed(cause)) = error
    else {
        return false;
    };
    match cause {
        kube::Error::SerdeError(_) => true,
        // kube reads a line that is no event of `K` as a Status, whose fields are all optional: an empty one is no answer of a server.
        kube::Error::Api(status) => status.code == 0 && status.message.is_empty(),
        _ => false,
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
