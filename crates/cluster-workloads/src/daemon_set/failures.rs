//! How often a DaemonSet's Pod has failed on a node lately, and so when the next one may be tried: at once, then after a second, and each
//! time twice as long. What has been ready begins anew; so does everything with this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Informer;
use base_rt::{Clock, Timestamp};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

use super::resources;
use crate::objects::{owners, pods};

/// The longest wait, in seconds.
const MAX_WAIT_S: i64 = 15 * 60;
/// How many pairs of DaemonSet and node are remembered; others are tried at once.
const MAX_PAIRS: usize = 1000;

/// The failures that have been seen. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<(String, String), Failing>>>);

#[derive(Clone, Copy, Debug)]
struct Failing {
    times: u32,
    due: Timestamp,
}

impl Failures {
    /// Follows a cache of Pods.
    pub(super) fn follow(pods: &Informer<Pod>, clock: Clock) -> Self {
        let failures = Self::default();
        let following = failures.clone();
        pods.subscribe(move |delta| {
            let Some(new) = delta.new else { return };
            let is_of_set = owners::controller_of(&new.metadata).is_some_and(|owner| owner.kind == "DaemonSet");
            let (Some(uid), true) = (owners::controller_uid(&new.metadata), is_of_set) else { return };
            let pair = (uid.to_owned(), resources::node_of(new).unwrap_or_default().to_owned());
            let has_failed = |pod: &Pod| pods::phase(pod) == "Failed";
            if has_failed(new) && !delta.old.is_some_and(|old| has_failed(old)) {
                following.failed(pair, clock.now());
            } else if pods::is_ready(new) {
                following.pairs().remove(&pair);
            }
        });
        failures
    }

    fn failed(&self, pair: (String, String), now: Timestamp) {
        let mut pairs = self.pairs();
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

    fn pairs(&self) -> MutexGuard<'_, BTreeMap<(String, String), Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer() {
        let failures = Failures::default();
        let now = Timestamp::UNIX_EPOCH;
        let pair = || ("set".to_owned(), "n1".to_owned());
        let mut waits = Vec::new();
        for _ in 0..4 {
            failures.failed(pair(), now);
            waits.push(failures.of("set")["n1"].as_second());
        }
        assert_eq!(waits, [0, 1, 2, 4]);
        (0..80).for_each(|_| failures.failed(pair(), now));
        assert_eq!(failures.of("set")["n1"].as_second(), MAX_WAIT_S);
        assert!(failures.of("other").is_empty() && failures.of("se").is_empty());
    }
}
