//! How often a DaemonSet's Pod has failed on a node lately, and so when the next one may be tried: at once, then after a second, and each
//! time twice as long. What has been ready begins anew; so does everything with this process. It is forgotten with the DaemonSet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::{Delta, Informer, Key, owner_key};
use base_rt::{Clock, Timestamp};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::resources;
use crate::objects::{owners, pods};

/// The longest wait, in seconds.
const MAX_WAIT_S: i64 = 15 * 60;
/// How many pairs of DaemonSet and node are remembered; others are tried at once.
const MAX_PAIRS: usize = 1000;

/// The failures that have been seen. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Mutex<Pairs>>);

/// By the set's uid and the node's name.
type Pairs = BTreeMap<(String, String), Failing>;

#[derive(Clone, Copy, Debug)]
struct Failing {
    times: u32,
    due: Timestamp,
}

impl Failures {
    /// Follows caches.
    pub(super) fn follow(sets: &Informer<DaemonSet>, pods: &Informer<Pod>, clock: Clock) -> Self {
        let failures = Self::default();
        let (noting, forgetting, owners) = (failures.clone(), failures.clone(), sets.clone());
        pods.subscribe(move |delta| {
            // What is known of a set that is gone would stay for ever.
            noting.note(delta, clock.now(), |key, uid| {
                owners.get(key).is_some_and(|set| set.metadata.uid.as_deref() == Some(uid))
            });
        });
        sets.subscribe(move |delta| {
            let uid = |set: &Arc<DaemonSet>| set.metadata.uid.clone().unwrap_or_default();
            if let Some(gone) = delta.old.map(uid).filter(|old| delta.new.map(uid).as_ref() != Some(old)) {
                forgetting.pairs().retain(|(of, _), _| *of != gone);
            }
        });
        failures
    }

    fn note(&self, delta: &Delta<'_, Pod>, now: Timestamp, is_there: impl FnOnce(&Key, &str) -> bool) {
        let Some(new) = delta.new else { return };
        let Some(key) = owner_key::<DaemonSet>(&new.metadata) else { return };
        let uid = owners::controller_uid(&new.metadata).unwrap_or_default();
        let pair = (uid.to_owned(), resources::node_of(new).unwrap_or_default().to_owned());
        let has_failed = |pod: &Pod| pods::phase(pod) == "Failed";
        // Held while it is looked whether the set is there: it is forgotten after it has left the cache.
        let mut pairs = self.pairs();
        if has_failed(new) && !delta.old.is_some_and(|old| has_failed(old)) {
            if is_there(&key, uid) {
                Self::failed(&mut pairs, pair, now);
            }
        } else if pods::is_ready(new) {
            pairs.remove(&pair);
        }
    }

    fn failed(pairs: &mut Pairs, pair: (String, String), now: Timestamp) {
        if pairs.len() >= MAX_PAIRS && !pairs.contains_key(&pair) {
            return;
        }
        let times = pairs.get(&pair).map_or(0, |failing| failing.times) + 1;
        let wait_s = match times {
            1 => 0,
            times => {
                1_i64.checked_shl(times - 2).filter(|wait_s| (1..MAX_WAIT_S).contains(wait_s)).unwrap_or(MAX_WAIT_S)
            }
        };
        let due = now.checked_add(SignedDuration::from_secs(wait_s)).unwrap_or(now);
        pairs.insert(pair, Failing { times, due });
    }

    /// When failed Pods of a set may be made again, by node.
    pub(super) fn of(&self, uid: &str) -> BTreeMap<String, Timestamp> {
        let pairs = self.pairs();
        let own = pairs.range((uid.to_owned(), String::new())..).take_while(|((of, _), _)| of == uid);
        own.map(|((_, node), failing)| (node.clone(), failing.due)).collect()
    }

    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_failure_waits_longer() {
        let failures = Failures::default();
        let now = Timestamp::UNIX_EPOCH;
        let pair = || ("set".to_owned(), "n1".to_owned());
        let mut waits = Vec::new();
        for _ in 0..4 {
            Failures::failed(&mut failures.pairs(), pair(), now);
            waits.push(failures.of("set")["n1"].as_second());
        }
        assert_eq!(waits, [0, 1, 2, 4]);
        (0..80).for_each(|_| Failures::failed(&mut failures.pairs(), pair(), now));
        assert_eq!(failures.of("set")["n1"].as_second(), MAX_WAIT_S);
        assert!(failures.of("other").is_empty() && failures.of("se").is_empty());
    }

    #[test]
    fn only_failures_of_sets_that_are_there_are_remembered() {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "set", "controller": true});
        let failed: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "ownerReferences": [owner]},
            "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Failed"},
        }))
        .unwrap();
        let (failures, failed) = (Failures::default(), Arc::new(failed));
        let delta = Delta { old: None, new: Some(&failed), is_initial: false };
        failures.note(&delta, Timestamp::UNIX_EPOCH, |_, _| false);
        assert!(failures.of("set").is_empty());
        failures.note(&delta, Timestamp::UNIX_EPOCH, |key, uid| *key == Key::new("n", "d") && uid == "set");
        assert_eq!(failures.of("set").len(), 1);
    }
}
