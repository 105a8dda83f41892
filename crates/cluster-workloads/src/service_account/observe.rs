//! What a decision about a namespace's furniture may look at.

use std::sync::Arc;

use base_controller::{Informer, Key};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use serde::Serialize;

use super::resources::{ACCOUNT, CA_MAP};

/// The caches that are read: of accounts and maps, only those of the two names.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) namespaces: Informer<Namespace>,
    pub(super) accounts: Informer<ServiceAccount>,
    pub(super) maps: Informer<ConfigMap>,
}

/// The facts about one namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The namespace.
    pub(super) namespace: Arc<Namespace>,
    /// Whether it has its ServiceAccount.
    pub(super) has_account: bool,
    /// Its map with the certificate authority.
    pub(super) map: Option<Arc<ConfigMap>>,
}

impl Caches {
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        Some(Observed {
            namespace: self.namespaces.get(key)?,
            has_account: self.accounts.get(&Key::new(key.name(), ACCOUNT)).is_some(),
            map: self.maps.get(&Key::new(key.name(), CA_MAP)),
        })
    }
}
