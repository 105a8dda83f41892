//! What every namespace has: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` with the certificate authority of the API server,
//! which Pods' token volumes contain.
//!
//! Both come back when somebody deletes or changes them, until the namespace itself goes. Specified by
//! `k8s.io/kubernetes/pkg/controller/{serviceaccount,certificates/rootcacertpublisher}`.

mod observe;
mod plan;
mod resources;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};

use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "service-account-controller";

/// Furnishes namespaces.
struct Furnisher {
    caches: Caches,
    ca_bundle: String,
}

impl Reconciler for Furnisher {
    type Object = Namespace;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[
        Write::fields("", "ServiceAccount", &["metadata.name[default]"]),
        Write::fields("", "ConfigMap", &["data[kube-root-ca.crt/ca.crt]"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Namespace>> {
        Some(&observed.namespace)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        plan::plan(observed, &self.ca_bundle)
    }
}

/// Starts the controller. `ca_bundle` is the certificate authority in PEM.
pub fn start(context: &Context, ca_bundle: &str) {
    let namespaces = context.informers.get::<Namespace>(Scope::all());
    let named = |name: &str| Scope::all().with_fields(format!("metadata.name={name}"));
    let accounts = context.informers.get::<ServiceAccount>(named(resources::ACCOUNT));
    let maps = context.informers.get::<ConfigMap>(named(resources::CA_MAP));
    let caches = Caches { namespaces: namespaces.clone(), accounts: accounts.clone(), maps: maps.clone() };
    let furnisher = Furnisher { caches, ca_bundle: ca_bundle.to_owned() };
    Controller::new(NAME, furnisher, &namespaces, context)
        .watches(&accounts, |delta| {
            namespace_of(delta.latest().and_then(|account| account.metadata.namespace.as_deref()))
        })
        .watches(&maps, |delta| namespace_of(delta.latest().and_then(|map| map.metadata.namespace.as_deref())))
        .start();
}

fn namespace_of(namespace: Option<&str>) -> Vec<Key> {
    namespace.map(Key::cluster).into_iter().collect()
}
