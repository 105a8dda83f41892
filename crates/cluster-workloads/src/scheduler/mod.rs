//! The scheduler: binds Pods to the node that has room for them.
//!
//! A Pod without a node is bound (`pods/binding`) to the first node that it may run on (not cordoned, taints tolerated, node selector and required
//! node affinity met) and that has room for its requests: `cpu`, `memory`, `ephemeral-storage`, `pods`, and whatever else the node offers. One that
//! fits nowhere gets the condition `PodScheduled=False`, reason `Unschedulable`, with kube-scheduler's message, and is looked at again when room
//! becomes free or a node changes; Pods of higher priority go first, then older ones. Nothing is preempted.
//!
//! What is in use stands in the [`ledger`]: gathering a Pod that fits *claims* its room there, before the cache shows the Pod as bound, so two
//! Pods are never given the same room. A Pod's claims ([`claims`]) are bound before it is. Pods that ask for another scheduler, or are gated, are left alone.

mod claims;
mod fit;
mod ledger;
mod observe;
mod plan;
mod requests;
mod resources;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Index, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::objects::{pods, storage};
use ledger::Ledger;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "default-scheduler";

/// Binds Pods.
struct Scheduler {
    caches: Caches,
}

impl Reconciler for Scheduler {
    type Object = Pod;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[
        Write::fields("", "Pod", &["spec.nodeName", "status.conditions[PodScheduled]"]),
        Write::fields("", "PersistentVolumeClaim", &["metadata.annotations[volume.kubernetes.io/selected-node]"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Pod>> {
        Some(&observed.pod)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan::plan(observed, now)
    }
}

/// Starts the scheduler.
pub fn start(context: &Context) {
    let pods = context.informers.get::<Pod>(Scope::all());
    let nodes = context.informers.get::<Node>(Scope::all());
    // The ledger hears of a change before the keys that the change wakes are looked at.
    let ledger = Ledger::follow(&pods);
    let waiting = pods.index("waiting", |pod| if is_waiting(pod) { vec![WAITING.to_owned()] } else { Vec::new() });
    let by_claim = pods.index("claim", storage::claim_keys);
    let claims = claims::Caches {
        claims: context.informers.get::<PersistentVolumeClaim>(Scope::all()),
        volumes: context.informers.get::<PersistentVolume>(Scope::all()),
        classes: context.informers.get::<StorageClass>(Scope::all()),
    };
    let (of_claims, of_volumes, of_classes) = (claims.claims.clone(), claims.volumes.clone(), claims.classes.clone());
    let (by_room, by_node, by_volume, by_class) = (waiting.clone(), waiting.clone(), waiting.clone(), waiting);
    let caches = Caches { pods: pods.clone(), nodes: nodes.clone(), ledger, claims };
    Controller::new(NAME, Scheduler { caches }, &pods, context)
        .watches(&pods, move |delta| if frees_room(delta) { in_order(&by_room) } else { Vec::new() })
        .watches(&nodes, move |delta| if is_other_node(delta) { in_order(&by_node) } else { Vec::new() })
        .watches(&of_claims, move |delta| users(&by_claim, delta))
        .watches(&of_volumes, move |delta| if is_other_volume(delta) { in_order(&by_volume) } else { Vec::new() })
        .watches(&of_classes, move |delta| if delta.new.is_some() { in_order(&by_class) } else { Vec::new() })
        // One at a time: what comes first gets the room.
        .with_workers(1)
        .start();
}

const WAITING: &str = "waiting";

/// Whether a Pod waits for this scheduler.
fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == NAME);
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    is_ours && !is_gated && pods::node_name(pod).is_none() && pods::is_active(pod)
}

/// The waiting Pods, those that go first first.
fn in_order(waiting: &Index<Pod>) -> Vec<Key> {
    let mut pods = waiting.get(WAITING);
    let rank = |pod: &Pod| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        (std::cmp::Reverse(priority), pod.metadata.creation_timestamp.as_ref().map(|time| time.0), Key::of(pod))
    };
    pods.sort_by_cached_key(|pod| rank(pod));
    pods.iter().map(|pod| Key::of(&**pod)).collect()
}

/// The waiting Pods that use a claim.
fn users(by_claim: &Index<Pod>, delta: &Delta<'_, PersistentVolumeClaim>) -> Vec<Key> {
    let Some(claim) = delta.latest().map(|claim| Key::of(&**claim)) else { return Vec::new() };
    let users = by_claim.get(&storage::claim_key(claim.namespace(), claim.name()));
    users.iter().filter(|pod| is_waiting(pod)).map(|pod| Key::of(&**pod)).collect()
}

/// Whether there is a volume that was not there, or is free again.
fn is_other_volume(delta: &Delta<'_, PersistentVolume>) -> bool {
    delta.new.is_some_and(|volume| delta.old.is_none_or(|old| old.spec != volume.spec))
}

/// Whether a bound Pod has ended.
fn frees_room(delta: &Delta<'_, Pod>) -> bool {
    let holds_room = |pod: &Arc<Pod>| pods::node_name(pod).is_some() && !pods::is_finished(pod);
    delta.old.is_some_and(holds_room) && !delta.new.is_some_and(holds_room)
}

/// Whether a node changed in a way that may make room. (It tells that it is alive all the time.)
fn is_other_node(delta: &Delta<'_, Node>) -> bool {
    let (Some(old), Some(new)) = (delta.old, delta.new) else { return delta.new.is_some() };
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || allocatable(old) != allocatable(new)
}
