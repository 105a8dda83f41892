//! Deployment: rolls Pods from one template to the next, by ReplicaSets.
//!
//! Each template has a ReplicaSet, named `<deployment>-<hash of the template>`; the one whose template is the Deployment's is *new*, the others
//! are *old*. One pass does one step, in the order of Kubernetes' controller, so that a watcher sees the same statuses in the same order:
//!
//! ```text
//! adopt ─► paused or resumed? ─► revision of the new set ─► paused or resized: size all sets, count
//!                                                        └► rollout: make the new set │ size it up │ old ones down │ clean up, and judge progress
//! ```
//! Who else writes: users `spec`, autoscalers `spec.replicas`; the ReplicaSet controller the sets' status. This controller owns the sets, the
//! annotation `deployment.kubernetes.io/revision` and the whole status.
//!
//! Conditions: `Available` (enough Pods are), `Progressing` (`NewReplicaSetCreated` → `ReplicaSetUpdated` → `NewReplicaSetAvailable`, or
//! `ProgressDeadlineExceeded`, `DeploymentPaused`, `ReplicaSetCreateError`), `ReplicaFailure` (copied from the sets). The order of the list is
//! that of the last changes. Specified by `k8s.io/kubernetes/pkg/controller/deployment` and its recorded timelines.

mod observe;
mod plan;
mod resources;
mod revision;
mod rollout;
mod scale;
mod sets;
mod size;
mod status;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, Delta, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use crate::objects::{claim, pods};
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "deployment-controller";

/// Keeps Deployments true.
struct Deployments {
    caches: Caches,
}

impl Reconciler for Deployments {
    type Object = Deployment;
    type Observed = Observed;
    type Status = Option<DeploymentStatus>;

    const WRITES: &'static [Write] = &[
        Write::child("apps", "ReplicaSet"),
        Write::fields("apps", "Deployment", &["metadata.annotations[deployment.kubernetes.io/revision]"]),
        Write::status(
            "apps",
            "Deployment",
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
                "conditions",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Deployment>> {
        Some(&observed.deployment)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }

    fn mark_refused(&self, status: &mut Self::Status, condition: &Condition, now: Timestamp) {
        if let Some(status) = status {
            status::set_condition(status, status::make_condition(condition, now));
        }
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let deployments = context.informers.get::<Deployment>(Scope::all());
    let sets = context.informers.get::<ReplicaSet>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let caches = Caches::new(&deployments, &sets, &pods);
    let (recreating, owning) = (deployments.clone(), sets.clone());
    Controller::new(NAME, Deployments { caches }, &deployments, context)
        .owns(&sets)
        .watches(&sets, claim::takers(&deployments, observe::selector))
        .watches(&pods, move |delta| waiting_for_end(&recreating, &owning, delta))
        .start();
}

/// The Deployment that recreates, and may go on because a Pod of it has ended.
fn waiting_for_end(
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    delta: &Delta<'_, Pod>,
) -> Vec<Key> {
    let has_ended = delta.new.is_none_or(|pod| pods::is_finished(pod));
    let waiting = delta.old.filter(|_| has_ended).and_then(|pod| {
        let set = sets.get(&base_controller::owner_key::<ReplicaSet>(&pod.metadata)?)?;
        let deployment = deployments.get(&base_controller::owner_key::<Deployment>(&set.metadata)?)?;
        resources::is_recreating(&deployment).then(|| Key::of(&*deployment))
    });
    waiting.into_iter().collect()
}
