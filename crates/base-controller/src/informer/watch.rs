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
use crate::object::Object;

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
    let mut listed = BTreeSet::new();
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

fn take<K: Object>(informer: &Informer<K>, event: Event<Decoded<K>>, listed: &mut BTreeSet<Key>) {
    match event {
        Event::Init => {
            listed.clear();
            informer.begin_list();
        }
        Event::InitApply(object) => {
            listed.insert(key_of(&object));
            accept(informer, object);
        }
        Event::InitDone => informer.end_list(&std::mem::take(listed)),
        Event::Apply(object) => accept(informer, object),
        Event::Delete(Ok(object)) => informer.delete(&object),
        Event::Delete(Err(bad)) => {
            let subscribers = informer.subscribers();
            informer.forget(&subscribers, &key_in(&bad.meta));
            informer.progress(&subscribers, &bad.meta);
        }
    }
}

fn accept<K: Object>(informer: &Informer<K>, object: Decoded<K>) {
    match object {
        Ok(object) => informer.apply(object),
        Err(bad) => {
            let key = key_in(&bad.meta);
            informer.shared.metrics.undecodable.inc();
            tracing::warn!(kind = %informer.kind(), object = %key, reason = bad.reason, "object does not decode; its last good form is kept");
            informer.progress(&informer.subscribers(), &bad.meta);
        }
    }
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

fn key_of<K: Object>(object: &Decoded<K>) -> Key {
    match object {
        Ok(object) => Key::of(object),
        Err(bad) => key_in(&bad.meta),
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
