//! ResourceQuota: `status` says what of a namespace's quota is used.
//!
//! What is used is counted anew from the caches, whenever something that counts comes, goes, or counts for something else. The API server does not look at it: it
//! counts for itself when it lets objects through. Both count as `base_quota` has it.
//!
//! Pods, Services and claims are read from their informers, and only for namespaces that have a quota; of every other kind the `catalog` knows
//! how many there are. Specified by `k8s.io/kubernetes/pkg/controller/resourcequota`.

mod observe;
mod plan;
mod status;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Informer, Key, Object, Plan, Reconciler, Scope};
use base_quota::usage::Counted;
use base_rt::{Clock, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};

use crate::catalog::Catalog;
use observe::{Caches, Observed, names};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "resourcequota-controller";

/// Keeps the status of ResourceQuotas true.
struct Quotas {
    caches: Caches,
}

impl Reconciler for Quotas {
    type Object = ResourceQuota;
    type Observed = Observed;
    type Status = Option<ResourceQuotaStatus>;

    const WRITES: &'static [Write] = &[Write::status("", "ResourceQuota", &["hard", "used"])];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<ResourceQuota>> {
        Some(&observed.quota)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }
}

/// Starts the controller.
pub(crate) fn start(context: &Context, catalog: &Catalog) {
    let quotas = context.informers.get::<ResourceQuota>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let services = context.informers.get::<Service>(Scope::all());
    let claims = context.informers.get::<PersistentVolumeClaim>(Scope::all());
    let caches = Caches {
        quotas: quotas.clone(),
        pods: pods.clone(),
        services: services.clone(),
        claims: claims.clone(),
        catalog: catalog.clone(),
    };
    let handle = Controller::new(NAME, Quotas { caches }, &quotas, context)
        .watches(&pods, wakes(&quotas, Counted::PODS, context.clock))
        .watches(&services, wakes(&quotas, Counted::SERVICES, context.clock))
        .watches(&claims, wakes(&quotas, Counted::CLAIMS, context.clock))
        .wakes_all_on(catalog.changes())
        .start();
    catalog.subscribe(move |kind, delta| {
        let is_counted_here = delta.old.is_some() != delta.new.is_some() && kind.is_namespaced;
        let counted = Counted { group: &kind.resource.group, plural: &kind.resource.plural };
        let is_listed = matches!(counted, Counted::PODS | Counted::SERVICES | Counted::CLAIMS);
        if is_counted_here && !is_listed {
            concerned(&quotas, counted, delta).iter().for_each(|quota| handle.wake(&Key::of(&**quota)));
        }
    });
}

fn wakes<K: Object>(
    quotas: &Informer<ResourceQuota>,
    counted: Counted<'static>,
    clock: Clock,
) -> impl Fn(&Delta<'_, K>) -> Vec<Key> + Send + Sync + 'static {
    let quotas = quotas.clone();
    move |delta| {
        let mut concerned = concerned(&quotas, counted, delta);
        if let (false, Some(old), Some(new)) = (concerned.is_empty(), delta.old, delta.new) {
            let (old, new, now) = (plan::json(old), plan::json(new), clock.now());
            concerned.retain(|quota| plan::counts_otherwise(&plan::json(quota), counted, [&old, &new], now));
        }
        concerned.iter().map(|quota| Key::of(&**quota)).collect()
    }
}

/// The quotas that objects of the kind count for, in the namespace of one.
fn concerned<K: Object>(
    quotas: &Informer<ResourceQuota>,
    counted: Counted<'_>,
    delta: &Delta<'_, K>,
) -> Vec<Arc<ResourceQuota>> {
    let Some(namespace) = delta.latest().and_then(|object| object.meta().namespace.as_deref()) else {
        return Vec::new();
    };
    let mut here = quotas.list_in(namespace);
    here.retain(|quota| names(quota).any(|name| counted.is_for(name)));
    here
}
