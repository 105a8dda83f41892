//! StatefulSet: Pods with names, each of which comes back as itself, with its own claims.
//!
//! Its Pods are `<set>-<ordinal>`, from `spec.ordinals.start` on. One pass, in the order of Kubernetes' controller:
//!
//! ```text
//! adopt ─► revision of the template ─► replicas, lowest ordinal first ─► condemned Pods, highest first ─► update, highest first ─► status
//!                                      (`replicas`)                      (beyond the replicas)          (`update`)
//! ```
//! With `OrderedReady` a Pod is made, deleted or updated only while all before it are available; with `Parallel` nobody waits. A Pod that has
//! run to its end is deleted and made again. A Pod below the partition comes back at the current revision, others at the update revision.
//!
//! Claims (`claims`) are made from `spec.volumeClaimTemplates` before their Pod; the retention policy decides who owns them, and so whether the
//! garbage collector takes them with the set or with a Pod beyond the replicas.
//!
//! Who else writes: users and autoscalers `spec`, the node the Pods' status, the binder the claims'. Specified by
//! `k8s.io/kubernetes/pkg/controller/statefulset`.

mod claims;
mod observe;
mod plan;
mod replicas;
mod resources;
mod status;
mod update;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use crate::objects::claim;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "statefulset-controller";

/// Keeps StatefulSets true.
struct StatefulSets {
    caches: Caches,
}

impl Reconciler for StatefulSets {
    type Object = StatefulSet;
    type Observed = Observed;
    type Status = Option<StatefulSetStatus>;

    const WRITES: &'static [Write] = &[
        Write::child("", "Pod"),
        Write::child("apps", "ControllerRevision"),
        Write::child("", "PersistentVolumeClaim"),
        Write::status(
            "apps",
            "StatefulSet",
            &[
                "observedGeneration",
                "replicas",
                "readyReplicas",
                "availableReplicas",
                "currentReplicas",
                "updatedReplicas",
                "currentRevision",
                "updateRevision",
                "collisionCount",
                "conditions",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<StatefulSet>> {
        Some(&observed.set)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let sets = context.informers.get::<StatefulSet>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let revisions = context.informers.get::<ControllerRevision>(Scope::all());
    let claims = context.informers.get::<PersistentVolumeClaim>(Scope::all());
    let caches = Caches::new(&sets, &pods, &revisions, &claims);
    let missing = sets.clone();
    Controller::new(NAME, StatefulSets { caches }, &sets, context)
        .owns(&pods)
        .watches(&pods, claim::takers(&sets, observe::selector))
        .owns(&revisions)
        .watches(&revisions, claim::takers(&sets, observe::selector))
        .watches(&claims, move |delta| waiting_for_claim(&missing, delta))
        .start();
}

/// The sets that a claim is for which has gone: they may go on, or need another.
fn waiting_for_claim(sets: &Informer<StatefulSet>, delta: &Delta<'_, PersistentVolumeClaim>) -> Vec<Key> {
    let Some(gone) = delta.old.filter(|_| delta.new.is_none()) else { return Vec::new() };
    let here = sets.list_in(gone.metadata.namespace.as_deref().unwrap_or_default());
    let name = gone.metadata.name.as_deref().unwrap_or_default();
    here.iter().filter(|set| claims::is_name_of(set, name)).map(|set| Key::of(&**set)).collect()
}
