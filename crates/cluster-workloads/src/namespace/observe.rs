//! What a decision about a namespace may look at: itself, and what is left in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Informer, Key};
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use serde::Serialize;

use crate::catalog::{Catalog, Entry, Kind, Metadata};

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) namespaces: Informer<Namespace>,
    pub(super) catalog: Catalog,
}

/// The facts about one namespace that is being deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The namespace itself.
    pub(super) namespace: Arc<Namespace>,
    /// The kinds that may be in it, and what is left of each.
    pub(super) content: Vec<Content>,
    /// Whether that is everything.
    pub(super) is_complete: bool,
    /// Why the kinds are not known.
    pub(super) failure: Option<String>,
}

/// What is left of a kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    pub(super) kind: Arc<Kind>,
    /// How many objects; none if nobody counts them.
    pub(super) count: Option<usize>,
    /// How many of them nobody has deleted yet.
    pub(super) untouched: usize,
    /// Those, if the server deletes them only one by one.
    pub(super) singly: Vec<Arc<Metadata>>,
    /// How many of them each finalizer holds.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Caches {
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let namespace = self.namespaces.get(key)?;
        namespace.metadata.deletion_timestamp.as_ref()?;
        let entries = self.catalog.entries();
        let content = entries.into_iter().filter(|entry| entry.kind.is_content());
        Some(Observed {
            content: content.map(|entry| left(&entry, key.name())).collect(),
            is_complete: self.catalog.is_complete(),
            failure: self.catalog.failure(),
            namespace,
        })
    }
}

fn left(entry: &Entry, namespace: &str) -> Content {
    let kind = Arc::clone(&entry.kind);
    let Some(objects) = &entry.objects else {
        return Content { kind, count: None, untouched: 0, singly: Vec::new(), finalizers: BTreeMap::new() };
    };
    let objects = objects.list_in(namespace);
    let mut finalizers = BTreeMap::new();
    for name in objects.iter().flat_map(|object| object.meta().finalizers.iter().flatten()) {
        *finalizers.entry(name.clone()).or_default() += 1;
    }
    let count = objects.len();
    let untouched: Vec<_> = objects.into_iter().filter(|object| object.meta().deletion_timestamp.is_none()).collect();
    let (how_many, deletes_all) = (untouched.len(), kind.can("deletecollection"));
    let singly = if deletes_all { Vec::new() } else { untouched };
    Content { kind, count: Some(count), untouched: how_many, singly, finalizers }
}
