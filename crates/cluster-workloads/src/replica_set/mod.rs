//! ReplicaSet: as many Pods of one template as `spec.replicas` says.
//!
//! A Pod counts while it is active (neither finished nor being deleted) and belongs to the set (`objects::claim`: the selector takes it and
//! the set controls it; Pods without a controller are adopted, Pods that no longer match are let go). Too few: the server names new ones
//! (`generateName`). Too many: the least useful go first (`objects::ranking`).
//!
//! The status counts what the cache shows, so it follows a creation in the next pass. Its one condition, `ReplicaFailure`, says that the server
//! refused a Pod (`FailedCreate`) or a deletion (`FailedDelete`), and goes with the next success.
//!
//! Who else writes: users and the Deployment controller `spec`, the node the Pods' status, the owner GC the deletions of Pods whose set is gone.
//! Specified by `k8s.io/kubernetes/pkg/controller/replicaset` and its recorded timelines.

mod observe;
mod plan;
mod status;

pub(crate) use status::REPLICA_FAILURE;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use crate::objects::claim;
use observe::{Caches, Observed};
use status::Outlook;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "replicaset-controller";

/// Keeps ReplicaSets true.
struct ReplicaSets {
    caches: Caches,
}

impl Reconciler for ReplicaSets {
    type Object = ReplicaSet;
    type Observed = Observed;
    type Status = Outlook;

    const WRITES: &'static [Write] = &[
        Write::child("", "Pod"),
        Write::status(
            "apps",
            "ReplicaSet",
            &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "terminatingReplicas",
                "observedGeneration",
                "conditions",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<ReplicaSet>> {
        Some(&observed.replica_set)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }

    fn mark_refused(&self, status: &mut Self::Status, condition: &Condition, now: Timestamp) {
        status.mark_failure(condition, now);
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let sets = context.informers.get::<ReplicaSet>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let caches = Caches::new(&sets, &pods);
    Controller::new(NAME, ReplicaSets { caches }, &sets, context)
        .owns(&pods)
        .watches(&pods, claim::takers(&sets, observe::selector))
        .start();
}
