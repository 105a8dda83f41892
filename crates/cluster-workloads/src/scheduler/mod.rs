//! The scheduler: binds Pods to the node that has room for them.
//!
//! A Pod without a node is bound (`pods/binding`) to the first node that it may run on (not cordoned, taints tolerated, node selector and required
//! node affinity met) and that has room for its requests: `cpu`, `memory`, `ephemeral-storage`, `pods`, and whatever else the node offers. One that
//! fits nowhere gets the condition `PodScheduled=False`, reason `Unschedulable`, with kube-scheduler's message, and is looked at again when room
//! becomes free or a node changes; Pods of higher priority go first, then older ones. Nothing is preempted.
//!
//! What is in use stands in the [`ledger`]: gathering a Pod that fits *claims* its room there, before the cache shows the Pod as bound, so two
//! Pods are never given the same room. A Pod's claims ([`claims`]) are bound before it is; if that takes too long its room is free again, and it is
//! told so (`SchedulerError`). Pods that ask for another scheduler, or are gated, are left alone.

mod claims;
mod fit;
mod ledger;
mod observe;
mod plan;
mod requests;
mod resources;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Index, Informer, Key, Plan, Reconciler, Scope};
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
    let (by_room, by_node, of_claim) = (waiting.clone(), waiting.clone(), by_claim.clone());
    let by_volume = ByClaims { waiting: waiting.clone(), by_claim: by_claim.clone(), claims: claims.claims.clone() };
    let by_class = ByClaims { waiting, by_claim, claims: claims.claims.clone() };
    let freeing = ledger.clone();
    let caches = Caches { pods: pods.clone(), nodes: nodes.clone(), ledger, claims, clock: context.clock };
    Controller::of_those(NAME, Scheduler { caches }, &pods, context, is_waiting)
        // The ledger has heard of it before: who leaves a room may have been bound, or about to be.
        .watches(&pods, move |_| if freeing.has_freed() { in_order(&by_room) } else { Vec::new() })
        .watches(&nodes, move |delta| if is_other_node(delta) { in_order(&by_node) } else { Vec::new() })
        .watches(&of_claims, move |delta| {
            delta.latest().map(|claim| users(&of_claim, &Key::of(&**claim))).unwrap_or_default()
        })
        .watches(&of_volumes, move |delta| by_volume.concerned_by_volume(delta))
        .watches(&of_classes, move |delta| by_class.concerned_by_class(delta))
        // One at a time: who goes first gets the room. Two at once could each see room for one and both take it.
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
    in_order_of(waiting.get(WAITING))
}

fn in_order_of(mut pods: Vec<Arc<Pod>>) -> Vec<Key> {
    let rank = |pod: &Pod| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        (std::cmp::Reverse(priority), pod.metadata.creation_timestamp.as_ref().map(|time| time.0), Key::of(pod))
    };
    pods.sort_by_cached_key(|pod| rank(pod));
    pods.iter().map(|pod| Key::of(&**pod)).collect()
}

/// The waiting Pods that use a claim.
fn users(by_claim: &Index<Pod>, claim: &Key) -> Vec<Key> {
    let users = by_claim.get(&storage::claim_key(claim.namespace(), claim.name()));
    users.iter().filter(|pod| is_waiting(pod)).map(|pod| Key::of(&**pod)).collect()
}

/// Finds waiting Pods by their claims.
struct ByClaims {
    waiting: Index<Pod>,
    by_claim: Index<Pod>,
    claims: Informer<PersistentVolumeClaim>,
}

impl ByClaims {
    /// Who may go on because a volume came or changed: users of the claims that it was or is for, and, if it is free, whose claims it may suit.
    fn concerned_by_volume(&self, delta: &Delta<'_, PersistentVolume>) -> Vec<Key> {
        let Some(volume) = delta.new.filter(|new| delta.old.is_none_or(|old| old.spec != new.spec)) else {
            return Vec::new();
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let references = delta.both().filter_map(|volume| storage::claim_ref(volume));
        let claims = references.map(|reference| Key::new(text(&reference.namespace), text(&reference.name)));
        let mut concerned: Vec<Key> = claims.flat_map(|claim| users(&self.by_claim, &claim)).collect();
        if storage::claim_ref(volume).is_none() {
            concerned.extend(self.with_unbound(|claim| storage::suits(claim, volume)));
        }
        concerned
    }

    /// Who may go on because a class came or changed.
    fn concerned_by_class(&self, delta: &Delta<'_, StorageClass>) -> Vec<Key> {
        let Some(name) = delta.new.and_then(|class| class.metadata.name.as_deref()) else { return Vec::new() };
        self.with_unbound(|claim| storage::class_of(claim) == name)
    }

    /// The waiting Pods with an unbound claim as it is meant, those that go first first.
    fn with_unbound(&self, is_meant: impl Fn(&PersistentVolumeClaim) -> bool) -> Vec<Key> {
        let waits = |pod: &Pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let claims = storage::claims_of(pod).filter_map(|name| self.claims.get(&Key::new(namespace, name)));
            claims.filter(|claim| !storage::is_bound(claim)).any(|claim| is_meant(&claim))
        };
        in_order_of(self.waiting.get(WAITING).into_iter().filter(|pod| waits(pod)).collect())
    }
}

/// Whether a node changed in a way that may make room. (It tells that it is alive all the time.)
fn is_other_node(delta: &Delta<'_, Node>) -> bool {
    let (Some(old), Some(new)) = (delta.old, delta.new) else { return delta.new.is_some() };
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || allocatable(old) != allocatable(new)
}
