//! ConfigMaps as typed values that change: each named map becomes a level, [`watch::Receiver<Arc<C>>`].
//!
//! A map that is missing means the defaults. One that does not parse keeps the last good value, and says so in an Event on the map. A key
//! that nobody knows is named in a warning, with the nearest known key. Keys that begin with `_` (Knative's `_example`) are comments.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_rt::watch;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Resource;

use crate::context::Context;
use crate::events::Recorder;
use crate::informer::Informer;
use crate::key::Key;
use crate::plan::PlanEvent;
use crate::scope::Scope;

/// The ConfigMaps of one namespace.
#[derive(Clone, Debug)]
pub struct ConfigStore {
    maps: Informer<ConfigMap>,
    namespace: String,
    events: Recorder,
}

/// One ConfigMap: its name, and the keys that it may have (none: any).
#[derive(Clone, Copy, Debug)]
pub struct ConfigName {
    /// The ConfigMap's name.
    pub name: &'static str,
    /// Every key that means something.
    pub known_keys: &'static [&'static str],
}

impl ConfigStore {
    /// The ConfigMaps of `namespace`.
    pub fn new(context: &Context, namespace: &str) -> Self {
        let maps = context.informers.get(Scope::namespace(namespace));
        Self { maps, namespace: namespace.to_owned(), events: context.events.clone() }
    }

    /// Waits until the maps that exist have been read.
    pub async fn synced(&self) {
        self.maps.synced().await;
    }

    /// The value of one map, now and in future: `C::default()` until it has been read, and while it does not exist.
    pub fn follow<C, E>(
        &self,
        config: ConfigName,
        parse: impl Fn(&BTreeMap<String, String>) -> Result<C, E> + Send + Sync + 'static,
    ) -> watch::Receiver<Arc<C>>
    where
        C: Default + PartialEq + Send + Sync + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let (sender, receiver) = watch::channel(Arc::new(C::default()));
        let (key, events) = (Key::new(self.namespace.as_str(), config.name), self.events.clone());
        self.maps.subscribe(move |delta| {
            if delta.latest().is_none_or(|map| Key::of(&**map) != key) {
                return;
            }
            let value = match delta.new {
                None => C::default(),
                Some(map) => {
                    warn_of_unknown(config, map, &events);
                    match parse(map.data.as_ref().unwrap_or(&BTreeMap::new())) {
                        Ok(value) => value,
                        Err(error) => return reject(map, &base_rt::error_chain(&error), &events),
                    }
                }
            };
            sender.send_if_modified(|current| {
                let is_changed = **current != value;
                if is_changed {
                    *current = Arc::new(value);
                }
                is_changed
            });
        });
        receiver
    }
}

fn reject(map: &ConfigMap, reason: &str, events: &Recorder) {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    tracing::error!(config_map = name, reason, "configuration does not parse; the last good one stays");
    let message = format!("{reason}; the last good configuration stays in force");
    events.record(map.object_ref(&()), PlanEvent::warning("InvalidConfiguration", message));
}

fn warn_of_unknown(config: ConfigName, map: &ConfigMap, events: &Recorder) {
    if config.known_keys.is_empty() {
        return;
    }
    let keys = map.data.iter().flatten().map(|(key, _)| key.as_str());
    for key in keys.filter(|key| !key.starts_with('_') && !config.known_keys.contains(key)) {
        let mut message = format!("unknown key {key:?}");
        if let Some(nearest) = nearest(key, config.known_keys) {
            message.push_str(&format!(", did you mean {nearest:?}?"));
        }
        tracing::warn!(config_map = config.name, message, "configuration has an unknown key");
        events.record(map.object_ref(&()), PlanEvent::warning("UnknownKey", message));
    }
}

/// The known name nearest to `name`, if it is near: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let candidates = known.iter().map(|candidate| (distance(name, candidate), *candidate));
    let (distance, candidate) = candidates.min()?;
    (distance <= candidate.chars().count().div_ceil(3)).then_some(candidate)
}

/// How many letters have to be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, left), above_left) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let before = next.last().copied().unwrap_or_default();
            next.push((above_left + usize::from(from != *to)).min(left + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_if_it_is_near() {
        let known = ["stable-window", "scale-to-zero-grace-period", "tick-interval"];
        assert_eq!(nearest("stable-widnow", &known), Some("stable-window"));
        assert_eq!(nearest("scale-to-zero-grace", &known), Some("scale-to-zero-grace-period"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn distances() {
        assert_eq!([distance("", "abc"), distance("kitten", "sitting"), distance("same", "same")], [3, 3, 0]);
    }
}
