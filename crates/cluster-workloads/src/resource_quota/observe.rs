//! What a decision about a ResourceQuota may look at: itself, the objects of its namespace whose content counts, and the number of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Informer, Key, Object};
use base_quota::usage::Counted;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use serde::Serialize;

use crate::catalog::Catalog;

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
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let quota = self.quotas.get(key)?;
        Some(Observed {
            pods: listed(&self.pods, Counted::PODS, &quota, key),
            services: listed(&self.services, Counted::SERVICES, &quota, key),
            claims: listed(&self.claims, Counted::CLAIMS, &quota, key),
            numbers: self.numbers(&quota, key),
            quota,
        })
    }

    fn numbers(&self, quota: &ResourceQuota, key: &Key) -> BTreeMap<String, usize> {
        let counted: Vec<(&str, Counted<'_>)> =
            names(quota).filter_map(|name| Some((name, Counted::by_number(name)?))).collect();
        if counted.is_empty() {
            return BTreeMap::new();
        }
        let entries = self.catalog.entries();
        let number = |counted: Counted<'_>| {
            let mut entries = entries.iter().filter(|entry| entry.kind.is_namespaced);
            let entry = entries.find(|entry| {
                entry.kind.resource.group == counted.group && entry.kind.resource.plural == counted.plural
            })?;
            Some(entry.objects.as_ref()?.list_in(key.namespace()).len())
        };
        counted.into_iter().filter_map(|(name, counted)| Some((name.to_owned(), number(counted)?))).collect()
    }
}

fn listed<K: Object>(objects: &Informer<K>, counted: Counted<'_>, quota: &ResourceQuota, key: &Key) -> Vec<Arc<K>> {
    if names(quota).any(|name| counted.is_for(name)) { objects.list_in(key.namespace()) } else { Vec::new() }
}
