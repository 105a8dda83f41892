//! What is in use of each node: Pods that are bound there, and Pods that are about to be.
//!
//! A Pod that waits for its claims to be bound *holds* its room, but not for ever: after [`HOLD_S`] others may have it, and after a pause of
//! [`PAUSE_S`] the Pod may hold one again. kube-scheduler waits as long (`bindTimeoutSeconds`, and the time after which it looks again at Pods
//! that could not be scheduled).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Informer;
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::requests::Amounts;
use crate::objects::{pods, storage};

/// How long a Pod holds a room while its claims are not bound, in seconds.
const HOLD_S: i64 = 10 * 60;
/// How long it has none after that, in seconds.
const PAUSE_S: i64 = 5 * 60;

/// The rooms that Pods have. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Rooms>>);

#[derive(Debug, Default)]
struct Rooms {
    by_pod: BTreeMap<String, Room>,
    in_use: BTreeMap<String, Amounts>,
    /// Since when Pods hold their rooms that wait for their claims.
    held: BTreeMap<String, Timestamp>,
    /// Whether room has become free since somebody asked.
    has_freed: bool,
}

/// How it stands with a Pod that waits for its claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hold {
    /// Whether it has waited too long, and has no room for now.
    pub(super) is_over: bool,
    /// When that changes.
    pub(super) until: Timestamp,
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

    /// As [`claim`](Self::claim), for a Pod that waits for its claims: a room that it may lose.
    pub(super) fn hold(&self, pod: &Pod, node: &str, now: Timestamp) -> Hold {
        let mut rooms = self.rooms();
        let held = rooms.held.get(uid(pod)).copied();
        let since = held.filter(|since| now < after(*since, HOLD_S + PAUSE_S)).unwrap_or(now);
        rooms.enter(uid(pod), Room::new(pod, node));
        rooms.held.insert(uid(pod).to_owned(), since);
        let end = after(since, HOLD_S);
        if now < end { Hold { is_over: false, until: end } } else { Hold { is_over: true, until: after(end, PAUSE_S) } }
    }

    /// Takes a Pod's room away, if it has one.
    pub(super) fn leave(&self, pod: &Pod) {
        self.rooms().leave(uid(pod));
    }

    /// Whether room has become free since this was asked last.
    pub(super) fn has_freed(&self) -> bool {
        std::mem::take(&mut self.rooms().has_freed)
    }

    /// When the next room becomes free because its Pod has waited too long.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.rooms().held.values().map(|since| after(*since, HOLD_S)).filter(|end| *end > now).min()
    }

    /// Whether another Pod than `pod` uses a claim.
    pub(super) fn is_used_by_others(&self, pod: &Pod, claim: &str, now: Timestamp) -> bool {
        let rooms = self.rooms();
        let mut others = rooms.by_pod.iter().filter(|(other, _)| *other != uid(pod) && !rooms.has_lost(other, now));
        others.any(|(_, room)| room.claims.iter().any(|used| used == claim))
    }

    /// What others than `pod` use of a node.
    pub(super) fn used_by_others(&self, pod: &Pod, node: &str, now: Timestamp) -> Amounts {
        let rooms = self.rooms();
        let mut used = rooms.in_use.get(node).cloned().unwrap_or_default();
        let lost =
            rooms.held.keys().map(String::as_str).filter(|other| *other != uid(pod) && rooms.has_lost(other, now));
        for room in lost.chain([uid(pod)]).filter_map(|uid| rooms.by_pod.get(uid)).filter(|room| room.node == node) {
            used.subtract(&room.amounts);
        }
        used
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    fn update(&mut self, pod: &Pod) {
        match pods::node_name(pod) {
            Some(node) if !pods::is_finished(pod) => self.enter(uid(pod), Room::new(pod, node)),
            None if pods::is_active(pod) => {}
            // It has ended, or will never be bound.
            _ => self.leave(uid(pod)),
        }
    }

    /// Whether a Pod has held its room for too long.
    fn has_lost(&self, uid: &str, now: Timestamp) -> bool {
        self.held.get(uid).is_some_and(|since| after(*since, HOLD_S) <= now)
    }

    fn enter(&mut self, uid: &str, room: Room) {
        self.remove(uid);
        self.in_use.entry(room.node.clone()).or_default().add(&room.amounts);
        self.by_pod.insert(uid.to_owned(), room);
    }

    fn leave(&mut self, uid: &str) {
        self.has_freed |= self.remove(uid);
    }

    /// Removes a Pod's room; whether it had one.
    fn remove(&mut self, uid: &str) -> bool {
        self.held.remove(uid);
        let Some(room) = self.by_pod.remove(uid) else { return false };
        if let Some(in_use) = self.in_use.get_mut(&room.node) {
            in_use.subtract(&room.amounts);
        }
        true
    }
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::quantity::Milli;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
        let used = |by_others_than: &Pod| ledger.used_by_others(by_others_than, "n", Timestamp::UNIX_EPOCH).get("cpu");
        ledger.claim(&a, "n");
        ledger.claim(&a, "n");
        assert_eq!((used(&a), used(&b)), (Milli(0), Milli(1000)));
        ledger.rooms().update(&pod("a", "1", "Running", Some("n")));
        ledger.claim(&b, "n");
        assert_eq!((used(&a), used(&b)), (Milli(500), Milli(1000)));
        ledger.rooms().update(&pod("a", "1", "Succeeded", Some("n")));
        assert_eq!(used(&b), Milli(0));
        assert!(ledger.has_freed() && !ledger.has_freed(), "it is told once");
        ledger.leave(&b);
        assert_eq!((used(&a), ledger.has_freed()), (Milli(0), true));
        ledger.leave(&b);
        assert!(!ledger.has_freed(), "it had none");
        ledger.claim(&b, "n");
        let mut ending = b.clone();
        ending.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        ledger.rooms().update(&ending);
        assert!(ledger.has_freed(), "it will never be bound");
    }

    #[test]
    fn a_room_is_not_held_for_ever() {
        let ledger = Ledger::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let (a, b) = (pod("a", "1", "Pending", None), pod("b", "1", "Pending", None));
        let used = |second| ledger.used_by_others(&b, "n", at(second)).get("cpu");
        assert_eq!(ledger.hold(&a, "n", at(0)), Hold { is_over: false, until: at(HOLD_S) });
        assert_eq!(ledger.hold(&a, "n", at(599)), Hold { is_over: false, until: at(HOLD_S) }, "it is one waiting");
        assert_eq!((used(599), ledger.next_end(at(599))), (Milli(1000), Some(at(HOLD_S))));
        assert_eq!((used(600), ledger.next_end(at(600))), (Milli(0), None), "others may have it");
        assert_eq!(ledger.hold(&a, "n", at(600)), Hold { is_over: true, until: at(HOLD_S + PAUSE_S) });
        assert_eq!(used(600), Milli(0), "nor does asking give it back");
        assert_eq!(ledger.hold(&a, "n", at(900)), Hold { is_over: false, until: at(900 + HOLD_S) }, "and once more");
        assert_eq!(used(900), Milli(1000));
        ledger.claim(&a, "n");
        assert_eq!((used(9000), ledger.next_end(at(900))), (Milli(1000), None), "its claims are bound");
    }
}
