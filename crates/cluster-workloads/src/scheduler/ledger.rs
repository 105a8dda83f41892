//! What is in use of each node: Pods that are bound there, and Pods that are about to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Informer;
use k8s_openapi::api::core::v1::Pod;

use super::requests::Amounts;
use crate::objects::{pods, storage};

/// The rooms that Pods have. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Rooms>>);

#[derive(Debug, Default)]
struct Rooms {
    by_pod: BTreeMap<String, Room>,
    in_use: BTreeMap<String, Amounts>,
}

#[derive(Debug)]
struct Room {
    node: String,
    amounts: Amounts,
    /// The claims that it uses.
    claims: Vec<String>,
}

impl Room {
    fn new(pod: &Pod, node: &str) -> Self {
        Self { node: node.to_owned(), amounts: Amounts::requested(pod), claims: storage::claim_keys(pod) }
    }
}

impl Ledger {
    /// Follows a cache of Pods: a bound Pod has its room until it is finished or gone; so has one that has claimed it.
    pub(super) fn follow(pods: &Informer<Pod>) -> Self {
        let ledger = Self::default();
        let following = ledger.clone();
        pods.subscribe(move |delta| {
            let is_same = |old: &Arc<Pod>| delta.new.is_some_and(|new| new.metadata.uid == old.metadata.uid);
            let mut rooms = following.rooms();
            if let Some(old) = delta.old.filter(|old| !is_same(old)) {
                rooms.leave(uid(old));
            }
            if let Some(new) = delta.new {
                rooms.update(new);
            }
        });
        ledger
    }

    /// Gives a Pod its room. A Pod that has one already moves.
    pub(super) fn claim(&self, pod: &Pod, node: &str) {
        self.rooms().enter(uid(pod), Room::new(pod, node));
    }

    /// Whether another Pod than `pod` uses a claim.
    pub(super) fn is_used_by_others(&self, pod: &Pod, claim: &str) -> bool {
        let rooms = self.rooms();
        let mut others = rooms.by_pod.iter().filter(|(other, _)| *other != uid(pod));
        others.any(|(_, room)| room.claims.iter().any(|used| used == claim))
    }

    /// What others than `pod` use of a node.
    pub(super) fn used_by_others(&self, pod: &Pod, node: &str) -> Amounts {
        let rooms = self.rooms();
        let mut used = rooms.in_use.get(node).cloned().unwrap_or_default();
        if let Some(own) = rooms.by_pod.get(uid(pod)).filter(|own| own.node == node) {
            used.subtract(&own.amounts);
        }
        used
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    fn update(&mut self, pod: &Pod) {
        if pods::is_finished(pod) {
            self.leave(uid(pod));
        } else if let Some(node) = pods::node_name(pod) {
            self.enter(uid(pod), Room::new(pod, node));
        }
    }

    fn enter(&mut self, uid: &str, room: Room) {
        self.leave(uid);
        self.in_use.entry(room.node.clone()).or_default().add(&room.amounts);
        self.by_pod.insert(uid.to_owned(), room);
    }

    fn leave(&mut self, uid: &str) {
        let Some(room) = self.by_pod.remove(uid) else { return };
        if let Some(in_use) = self.in_use.get_mut(&room.node) {
            in_use.subtract(&room.amounts);
        }
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::quantity::Milli;
    use serde_json::json;

    fn pod(uid: &str, cpu: &str, phase: &str, node: Option<&str>) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": uid, "uid": uid},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn a_room_is_claimed_once_and_left_at_the_end() {
        let ledger = Ledger::default();
        let (a, b) = (pod("a", "1", "Pending", None), pod("b", "500m", "Pending", None));
        let used = |by_others_than: &Pod| ledger.used_by_others(by_others_than, "n").get("cpu");
        ledger.claim(&a, "n");
        ledger.claim(&a, "n");
        assert_eq!((used(&a), used(&b)), (Milli(0), Milli(1000)));
        ledger.rooms().update(&pod("a", "1", "Running", Some("n")));
        ledger.claim(&b, "n");
        assert_eq!((used(&a), used(&b)), (Milli(500), Milli(1000)));
        ledger.rooms().update(&pod("a", "1", "Succeeded", Some("n")));
        assert_eq!(used(&b), Milli(0));
        ledger.rooms().leave("b");
        assert_eq!(used(&a), Milli(0));
    }
}
