//! Other objects, for the plug-ins of kinds.

use std::sync::Arc;

use serde_json::Value;

use crate::kinds::Lookup;
use crate::store::{ObjectKey, Store, TableName};

/// Reads the store's published objects.
pub(crate) struct StoreLookup<'a>(pub(crate) &'a Store);

impl Lookup for StoreLookup<'_> {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let stored = self.0.get(&TableName::new(plural, group), &ObjectKey::new(namespace, name))?;
        serde_json::from_slice(&stored.body).ok().map(Arc::new)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let objects = self.0.list(&TableName::new(plural, group), &prefix).objects;
        objects.iter().filter_map(|stored| serde_json::from_slice(&stored.body).ok().map(Arc::new)).collect()
    }
}
