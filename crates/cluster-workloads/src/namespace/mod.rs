//! Namespace: what is in it goes before it does.
//!
//! ```text
//! deleted by a user (phase Terminating) ─► content of every kind deleted ─► conditions: nothing left ─► finalizer `kubernetes` removed
//! ```
//! Which kinds there are, and what of them is left, the `catalog` knows; what it does not watch (Events) is deleted without looking. Five
//! conditions tell how far it is: `NamespaceDeletionDiscoveryFailure`, `NamespaceDeletionGroupVersionParsingFailure`,
//! `NamespaceDeletionContentFailure`, `NamespaceContentRemaining`, `NamespaceFinalizersRemaining`. A namespace is only let go once they have said
//! that nothing is left. The API server refuses new content meanwhile.
//!
//! Specified by `k8s.io/kubernetes/pkg/controller/namespace` and its recorded timeline.

mod observe;
mod plan;
mod status;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use kube::Resource;

use crate::catalog::Catalog;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "namespace-controller";

/// Empties namespaces that are being deleted.
struct Namespaces {
    caches: Caches,
}

impl Reconciler for Namespaces {
    type Object = Namespace;
    type Observed = Observed;
    type Status = Option<NamespaceStatus>;

    const WRITES: &'static [Write] = &[
        Write::deletion("", "*"),
        Write::fields("", "Namespace", &["spec.finalizers"]),
        Write::status("", "Namespace", &["conditions"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Namespace>> {
        Some(&observed.namespace)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }

    fn mark_refused(&self, status: &mut Self::Status, condition: &Condition, now: Timestamp) {
        if let Some(status) = status {
            status::set(status, condition, now);
        }
    }
}

/// Starts the controller.
pub(crate) fn start(context: &Context, catalog: &Catalog) {
    let namespaces = context.informers.get::<Namespace>(Scope::all());
    let caches = Caches { namespaces: namespaces.clone(), catalog: catalog.clone() };
    let handle =
        Controller::new(NAME, Namespaces { caches }, &namespaces, context).wakes_all_on(catalog.changes()).start();
    catalog.subscribe(move |kind, delta| {
        let namespace = delta.latest().and_then(|object| object.meta().namespace.as_deref());
        let Some(key) = namespace.filter(|_| kind.is_namespaced).map(Key::cluster) else { return };
        if namespaces.get(&key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            handle.wake(&key);
        }
    });
}
