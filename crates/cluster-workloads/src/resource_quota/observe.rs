//! What a decision about a ResourceQuota may look at: itself, the objects of its namespace whose content counts, and the number of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Informer, Key, Object};
use base_quota::usage::Counted;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use serde::Serialize;

use crate::catalog::{Catalog, Entry};

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) quotas: Informer<ResourceQuota>,
    pub(super) pods: Informer<Pod>,
    pub(super) services: Informer<Service>,
    pub(super) claims: Informer<PersistentVolumeClaim>,
    pub(super) catalog: Catalog,
}

/// The facts about one ResourceQuota. What does not count for it is not gathered.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The quota itself.
    pub(super) quota: Arc<ResourceQuota>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    /// How many objects there are of the kinds of which only the number counts, by the quota's names for them.
    pub(super) numbers: BTreeMap<String, usize>,
}

/// The resources that a quota limits.
pub(super) fn names(quota: &ResourceQuota) -> impl Iterator<Item = &str> {
    quota.spec.iter().filter_map(|spec| spec.hard.as_ref()).flatten().map(|(name, _)| name.as_str())
}

impl Caches {
    /// None also as long as what counts is not known: the catalog wakes every quota when it knows more.
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let quota = self.quotas.get(key)?;
        let entries = self.catalog.is_discovered().then(|| self.catalog.entries());
        Some(Observed {
            pods: listed(&self.pods, Counted::PODS, &quota, key),
            services: listed(&self.services, Counted::SERVICES, &quota, key),
            claims: listed(&self.claims, Counted::CLAIMS, &quota, key),
            numbers: numbers(&quota, entries.as_deref(), key)?,
            quota,
        })
    }
}

/// How many objects there are of the kinds of which only the number counts; none if that is not known. A kind that is not served has none.
fn numbers(quota: &ResourceQuota, entries: Option<&[Entry]>, key: &Key) -> Option<BTreeMap<String, usize>> {
    let mut numbers = BTreeMap::new();
    for name in names(quota) {
        let Some(counted) = Counted::by_number(name) else { continue };
        let is_counted = |entry: &&Entry| {
            let resource = &entry.kind.resource;
            entry.kind.is_namespaced && resource.group == counted.group && resource.plural == counted.plural
        };
        let entry = entries?.iter().find(is_counted);
        let Some(objects) = entry.and_then(|entry| entry.objects.as_ref()) else { continue };
        if !objects.is_synced() {
            return None;
        }
        numbers.insert(name.to_owned(), objects.list_in(key.namespace()).len());
    }
    Some(numbers)
}

fn listed<K: Object>(objects: &Informer<K>, counted: Counted<'_>, quota: &ResourceQuota, key: &Key) -> Vec<Arc<K>> {
    if names(quota).any(|name| counted.is_for(name)) { objects.list_in(key.namespace()) } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_said_before_the_kinds_are_known() {
        let quota = |hard: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": hard}}))
                .unwrap()
        };
        let key = Key::new("n", "q");
        let (by_number, of_pods) = (quota(json!({"secrets": "5"})), quota(json!({"pods": "5"})));
        assert_eq!(numbers(&by_number, None, &key), None);
        assert_eq!(numbers(&by_number, Some(&[]), &key), Some(BTreeMap::new()), "there is no such kind");
        assert_eq!(numbers(&of_pods, None, &key), Some(BTreeMap::new()), "no kind has to be known");
    }
}
