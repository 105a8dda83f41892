//! The objects of one watch and their indexes: a plain value, changed by events, read by everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::key::Key;
use crate::object::Object;

/// A named way to look objects up: the values under which an object is found.
pub type IndexFn<K> = fn(&K) -> Vec<String>;

/// Objects by key, and by index value.
#[derive(Debug)]
pub(super) struct Cache<K> {
    objects: BTreeMap<Key, Arc<K>>,
    indexes: Vec<IndexTable<K>>,
}

#[derive(Debug)]
struct IndexTable<K> {
    name: &'static str,
    values_of: IndexFn<K>,
    keys: BTreeMap<String, BTreeSet<Key>>,
}

impl<K: Object> Cache<K> {
    pub(super) fn new() -> Self {
        Self { objects: BTreeMap::new(), indexes: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<K>)> {
        self.objects.iter()
    }

    pub(super) fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        self.objects
            .range(Key::new(namespace, "")..)
            .take_while(move |(key, _)| key.namespace() == namespace)
            .map(|(_, object)| object)
    }

    /// Sets the object at `key` and returns what was there.
    pub(super) fn set(&mut self, key: &Key, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        for index in &mut self.indexes {
            index.replace(key, old.as_deref(), Some(&object));
        }
        old
    }

    /// Removes the object at `key` and returns it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            index.replace(key, Some(&old), None);
        }
        Some(old)
    }

    /// The slot of the index `name`; made, and filled with what is there, at first.
    pub(super) fn index(&mut self, name: &'static str, values_of: IndexFn<K>) -> usize {
        if let Some(slot) = self.indexes.iter().position(|index| index.name == name) {
            return slot;
        }
        let mut index = IndexTable { name, values_of, keys: BTreeMap::new() };
        for (key, object) in &self.objects {
            index.replace(key, None, Some(object));
        }
        self.indexes.push(index);
        self.indexes.len() - 1
    }

    pub(super) fn indexed<'a>(&'a self, slot: usize, value: &str) -> impl Iterator<Item = &'a Arc<K>> {
        let keys = self.indexes.get(slot).and_then(|index| index.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key))
    }
}

impl<K> IndexTable<K> {
    fn replace(&mut self, key: &Key, old: Option<&K>, new: Option<&K>) {
        for value in old.map(self.values_of).into_iter().flatten() {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
        for value in new.map(self.values_of).into_iter().flatten() {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn config_map(name: &str, color: &str) -> Arc<ConfigMap> {
        let labels = Some([("color".to_owned(), color.to_owned())].into());
        Arc::new(ConfigMap {
            metadata: ObjectMeta { name: Some(name.into()), labels, ..ObjectMeta::default() },
            ..ConfigMap::default()
        })
    }

    fn color(object: &ConfigMap) -> Vec<String> {
        object.metadata.labels.iter().flatten().map(|(_, value)| value.clone()).collect()
    }

    fn names<'a>(objects: impl Iterator<Item = &'a Arc<ConfigMap>>) -> Vec<&'a str> {
        objects.filter_map(|object| object.metadata.name.as_deref()).collect()
    }

    #[test]
    fn an_index_follows_changes_and_removals() {
        let mut cache = Cache::new();
        cache.set(&Key::new("n", "a"), config_map("a", "red"));
        let by_color = cache.index("color", color);
        cache.set(&Key::new("n", "b"), config_map("b", "red"));
        assert_eq!(names(cache.indexed(by_color, "red")), ["a", "b"]);
        cache.set(&Key::new("n", "a"), config_map("a", "blue"));
        assert_eq!(names(cache.indexed(by_color, "red")), ["b"]);
        cache.remove(&Key::new("n", "a"));
        assert!(names(cache.indexed(by_color, "blue")).is_empty());
        assert_eq!(cache.index("color", color), by_color, "the same name is the same index");
    }

    #[test]
    fn a_namespace_is_a_range() {
        let mut cache = Cache::new();
        for (namespace, name) in [("a", "x"), ("b", "y"), ("b", "z"), ("c", "w")] {
            cache.set(&Key::new(namespace, name), config_map(name, "red"));
        }
        assert_eq!(names(cache.in_namespace("b")), ["y", "z"]);
        assert!(names(cache.in_namespace("aa")).is_empty());
    }
}
