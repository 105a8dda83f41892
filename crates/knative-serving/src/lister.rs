//! Read access to the objects of one kind: the process's informer, or, in tests of plans, a list of objects.
//!
//! Reconcilers gather through these, so that the same `gather` that runs in production builds the facts of a test's row.

use std::sync::Arc;

use base_controller::{Index, Informer, Key, Object};

/// The objects of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Lister<K: Object>(Source<K>);

#[derive(Clone, Debug)]
enum Source<K: Object> {
    Live(Informer<K>),
    #[cfg(test)]
    Fixed(Vec<Arc<K>>),
}

/// The objects of one kind, found by a value computed from them.
#[derive(Clone, Debug)]
pub(crate) struct Lookup<K: Object>(LookupSource<K>);

#[derive(Clone, Debug)]
enum LookupSource<K: Object> {
    Live(Index<K>),
    #[cfg(test)]
    Fixed(Vec<Arc<K>>, fn(&K) -> Vec<String>),
}

impl<K: Object> Lister<K> {
    /// Reads a live cache.
    pub(crate) fn live(informer: &Informer<K>) -> Self {
        Self(Source::Live(informer.clone()))
    }

    /// The object at `key`.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        match &self.0 {
            Source::Live(informer) => informer.get(key),
            #[cfg(test)]
            Source::Fixed(objects) => objects.iter().find(|object| Key::of(&***object) == *key).map(Arc::clone),
        }
    }

    /// A way to find objects by the values that `values_of` computes. `name` tells the kind's indexes apart.
    pub(crate) fn by(&self, name: &'static str, values_of: fn(&K) -> Vec<String>) -> Lookup<K> {
        match &self.0 {
            Source::Live(informer) => Lookup(LookupSource::Live(informer.index(name, values_of))),
            #[cfg(test)]
            Source::Fixed(objects) => Lookup(LookupSource::Fixed(objects.clone(), values_of)),
        }
    }
}

impl<K: Object> Lookup<K> {
    /// The objects that have `value`, in key order.
    pub(crate) fn get(&self, value: &str) -> Vec<Arc<K>> {
        match &self.0 {
            LookupSource::Live(index) => index.get(value),
            #[cfg(test)]
            LookupSource::Fixed(objects, values_of) => {
                let has_value = |object: &&Arc<K>| values_of(object).iter().any(|known| known == value);
                objects.iter().filter(has_value).map(Arc::clone).collect()
            }
        }
    }
}

#[cfg(test)]
impl<K: Object> Lister<K> {
    /// Reads a list of objects.
    pub(crate) fn fixed(mut objects: Vec<Arc<K>>) -> Self {
        objects.sort_by_key(|object| Key::of(&**object));
        Self(Source::Fixed(objects))
    }
}
