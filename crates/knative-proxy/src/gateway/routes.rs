//! The route table, made of the Ingresses of this gateway's class.
//!
//! Ingresses are taken in one by one; a task makes the table when something has changed, swaps it in, and then reports what it serves. A
//! burst of changes makes one table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use base_controller::Key;
use knative_apis::meta::{self, annotation, annotations};
use knative_apis::networking::Ingress;
use knative_logic::route_table::{Builder, RouteTable};
use tokio::sync::Notify;

/// Who is told what this gateway serves. The binary maps it to the controllers' facts.
pub trait Served: Send + Sync {
    /// The gateway serves `version` (the hash of namespace, name and spec) of `ingress` on all workers, or has ceased to serve it.
    fn serves(&self, ingress: &Key, version: Option<&str>);
}

impl<F: Fn(&Key, Option<&str>) + Send + Sync> Served for F {
    fn serves(&self, ingress: &Key, version: Option<&str>) {
        self(ingress, version);
    }
}

/// The table in use, and the next one.
pub(crate) struct Routes {
    class: String,
    table: ArcSwap<RouteTable>,
    next: Mutex<Next>,
    changed: Notify,
}

#[derive(Default)]
struct Next {
    builder: Builder,
    /// What changed since the last table: the version taken in, or none.
    changes: BTreeMap<Key, Option<String>>,
}

impl Routes {
    pub(crate) fn new(class: &str) -> Self {
        Self { class: class.to_owned(), table: ArcSwap::default(), next: Mutex::default(), changed: Notify::new() }
    }

    /// The table in use.
    pub(crate) fn table(&self) -> Guard<Arc<RouteTable>> {
        self.table.load()
    }

    /// What an Ingress is now. It is served once a table has been made.
    pub(crate) fn set(&self, key: &Key, ingress: Option<&Ingress>) {
        let mut next = self.next();
        let ours = ingress.filter(|ingress| self.is_ours(ingress));
        let id = meta::Key::new(key.namespace(), key.name());
        let version = ours.map(|ingress| next.builder.insert(ingress));
        if version.is_none() && !next.builder.remove(&id) {
            return;
        }
        next.changes.insert(key.clone(), version);
        drop(next);
        self.changed.notify_one();
    }

    /// Whether it is of this gateway's class, and there to stay.
    pub(crate) fn is_ours(&self, ingress: &Ingress) -> bool {
        let class = annotation::INGRESS_CLASS.value(annotations(&ingress.metadata)).unwrap_or_default();
        class == self.class && ingress.metadata.deletion_timestamp.is_none()
    }

    /// Waits for a change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Serves what has been taken in, and tells `served`.
    pub(crate) fn swap(&self, served: &dyn Served) {
        let (table, changes) = {
            let mut next = self.next();
            if next.changes.is_empty() {
                return;
            }
            (next.builder.table(), std::mem::take(&mut next.changes))
        };
        self.table.store(Arc::new(table));
        for (ingress, version) in &changes {
            served.serves(ingress, version.as_deref());
        }
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knative_logic::route_table::Side;
    use serde_json::json;

    fn ingress(name: &str, class: &str, host: &str) -> Ingress {
        let splits = json!([{"serviceNamespace": "default", "serviceName": "a", "servicePort": 80, "percent": 100}]);
        serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": name, "annotations": {"networking.knative.dev/ingress.class": class}},
            "spec": {"rules": [{"hosts": [host], "visibility": "ExternalIP", "http": {"paths": [{"splits": splits}]}}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_served_is_told_after_it_is_served() {
        let routes = Routes::new("kwick");
        let told = Mutex::new(Vec::new());
        let served = |key: &Key, version: Option<&str>| {
            let is_known = routes.table().has_host(Side::Public, "a.example");
            told.lock().unwrap().push((key.to_string(), version.is_some(), is_known));
        };
        let key = Key::new("default", "a");
        routes.set(&key, Some(&ingress("a", "kwick", "a.example")));
        routes.set(&Key::new("default", "b"), Some(&ingress("b", "other", "b.example")));
        routes.swap(&served);
        routes.set(&key, None);
        routes.set(&key, None);
        routes.swap(&served);
        routes.swap(&served);
        let expected = [("default/a".to_owned(), true, true), ("default/a".to_owned(), false, false)];
        assert_eq!(*told.lock().unwrap(), expected);
        assert!(!routes.table().has_host(Side::Public, "b.example"));
    }
}
