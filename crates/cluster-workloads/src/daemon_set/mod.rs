//! DaemonSet: one Pod on every node that may run it.
//!
//! A Pod is made for its node (node affinity by name) and bound by the scheduler like any other; it tolerates what nodes in trouble are tainted
//! with. One pass, in the order of Kubernetes' controller:
//!
//! ```text
//! adopt ─► revision of the template ─► each node: has it the Pod that it should? (`placement`) ─► if all have: update (`update`) ─► status
//! ```
//! Update strategies: `OnDelete`; `RollingUpdate` deletes as many outdated Pods as may be unavailable, or, with `maxSurge`, starts new ones beside
//! them first. A Pod that has failed is deleted and made again, each time a little later (`failures`).
//!
//! Who else writes: users `spec`, the node the Pods' status. Specified by `k8s.io/kubernetes/pkg/controller/daemon`.

mod failures;
mod observe;
mod placement;
mod plan;
mod resources;
mod status;
mod update;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::objects::claim;
use failures::Failures;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "daemonset-controller";

/// Keeps DaemonSets true.
struct DaemonSets {
    caches: Caches,
}

impl Reconciler for DaemonSets {
    type Object = DaemonSet;
    type Observed = Observed;
    type Status = Option<DaemonSetStatus>;

    const WRITES: &'static [Write] = &[
        Write::child("", "Pod"),
        Write::child("apps", "ControllerRevision"),
        Write::status(
            "apps",
            "DaemonSet",
            &[
                "observedGeneration",
                "currentNumberScheduled",
                "desiredNumberScheduled",
                "numberMisscheduled",
                "numberReady",
                "numberAvailable",
                "numberUnavailable",
                "updatedNumberScheduled",
                "collisionCount",
                "conditions",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<DaemonSet>> {
        Some(&observed.set)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let sets = context.informers.get::<DaemonSet>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let nodes = context.informers.get::<Node>(Scope::all());
    let revisions = context.informers.get::<ControllerRevision>(Scope::all());
    // What counts failures hears of one before the keys that it wakes are looked at.
    let failures = Failures::follow(&sets, &pods, context.clock);
    let caches = Caches::new(&sets, &pods, &revisions, &nodes, failures);
    let everywhere = sets.clone();
    Controller::new(NAME, DaemonSets { caches }, &sets, context)
        .owns(&pods)
        .watches(&pods, claim::takers(&sets, observe::selector))
        .owns(&revisions)
        .watches(&revisions, claim::takers(&sets, observe::selector))
        .watches(&nodes, move |delta| if is_other_node(delta) { everywhere.keys() } else { Vec::new() })
        .start();
}

/// Whether a node came, went, or may now run other Pods. (It tells that it is alive all the time.)
fn is_other_node(delta: &Delta<'_, Node>) -> bool {
    let (Some(old), Some(new)) = (delta.old, delta.new) else { return true };
    old.spec != new.spec || old.metadata.labels != new.metadata.labels
}
