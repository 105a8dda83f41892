//! How long a Job waits before it replaces failed Pods: 10 s after the first failure, twice as long after each further one, 10 minutes at
//! most; from the beginning after a success.
//!
//! Failed Pods say themselves when they failed, for as long as they are there. [`Failures`] remembers those that the Job has let go: they may
//! be gone. A restart forgets only what is gone too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_controller::{Delta, Informer, owner_key};
use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::spec;
use super::status::is_finished;
use crate::objects::{owners, pods};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// After so many failures the wait grows no more, so that older ones need not be known.
const MAX_FAILURES: usize = 7;
/// Jobs whose failures are remembered.
const MAX_JOBS: usize = 10_000;

/// The latest ends of a Job's Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ends {
    last_success: Option<Timestamp>,
    /// In their order.
    failures: Vec<Timestamp>,
}

impl Ends {
    /// With the end of a Pod that is, or was, tracked.
    pub(super) fn add(&mut self, pod: &Pod) {
        let Some(at) = spec::finished_at(pod) else { return };
        if spec::has_succeeded(pod) {
            self.last_success = self.last_success.max(Some(at));
        } else if pods::phase(pod) == "Failed" || pods::is_terminating(pod) {
            self.failures.insert(self.failures.partition_point(|other| *other <= at), at);
        }
        let last_success = self.last_success;
        self.failures.retain(|failure| last_success.is_none_or(|success| *failure > success));
        self.failures.drain(..self.failures.len().saturating_sub(MAX_FAILURES));
    }

    /// How long to wait still.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<Duration> {
        remaining(self.failures.len(), *self.failures.last()?, now)
    }
}

/// How long to wait still after so many failures, of which the last was at `last`.
pub(super) fn remaining(failures: usize, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doublings = u32::try_from(failures.clamp(1, MAX_FAILURES) - 1).unwrap_or_default();
    let wait = FIRST.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST);
    let due = last.checked_add(wait).ok()?;
    (due > now).then(|| due.duration_since(now).unsigned_abs())
}

/// The ends of the Pods that Jobs have let go, until those are over or gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the Jobs' uids.
    ends: BTreeMap<String, Ends>,
    /// Whether what was known before the Jobs were has been sifted.
    is_sifted: bool,
}

impl Failures {
    /// Follows the caches.
    pub(super) fn follow(jobs: &Informer<Job>, pods: &Informer<Pod>) -> Self {
        let failures = Self::default();
        let (noting, forgetting, owners) = (failures.clone(), failures.clone(), jobs.clone());
        pods.subscribe(move |delta| noting.note(&owners, delta));
        jobs.subscribe(move |delta| forgetting.forget(delta));
        failures
    }

    /// What is remembered of one of all `jobs`, whose first list is there.
    pub(super) fn of(&self, job: &Job, jobs: &Informer<Job>) -> Ends {
        let mut known = self.known();
        if !known.is_sifted {
            known.sift(&jobs.list());
        }
        known.ends.get(job.metadata.uid.as_deref().unwrap_or_default()).cloned().unwrap_or_default()
    }

    fn forget(&self, delta: &Delta<'_, Job>) {
        let goes_on =
            |job: &Arc<Job>| !is_finished(job) && delta.old.is_none_or(|old| old.metadata.uid == job.metadata.uid);
        if delta.new.is_some_and(goes_on) {
            return;
        }
        for uid in delta.both().filter_map(|job| job.metadata.uid.as_ref()) {
            self.known().ends.remove(uid);
        }
    }

    fn note(&self, jobs: &Informer<Job>, delta: &Delta<'_, Pod>) {
        let Some(pod) = delta.latest() else { return };
        let Some(key) = owner_key::<Job>(&pod.metadata) else { return };
        let uid = owners::controller_uid(&pod.metadata).unwrap_or_default();
        // Held while it is looked whether the Job is there: it is forgotten after it has left the cache.
        let mut known = self.known();
        let is_of = |job: Arc<Job>| job.metadata.uid.as_deref() == Some(uid) && !is_finished(&job);
        if jobs.is_synced() && !jobs.get(&key).is_some_and(is_of) {
            return;
        }
        let is_tracked = delta.new.is_some_and(|pod| spec::is_tracked(pod));
        // Without the finalizer from the first: let go long ago. What is being deleted then may have been too many.
        let is_let_go = match delta.old {
            Some(old) => spec::is_tracked(old) && !is_tracked,
            None => !is_tracked && pods::is_finished(pod) && !pods::is_terminating(pod),
        };
        if !is_let_go {
            return;
        }
        if known.ends.len() < MAX_JOBS || known.ends.contains_key(uid) {
            known.ends.entry(uid.to_owned()).or_default().add(pod);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Keeps what is known of these Jobs only, as far as they are not over.
    fn sift(&mut self, jobs: &[Arc<Job>]) {
        let live: BTreeSet<&str> =
            jobs.iter().filter(|job| !is_finished(job)).filter_map(|job| job.metadata.uid.as_deref()).collect();
        self.ends.retain(|uid, _| live.contains(uid.as_str()));
        self.is_sifted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(phase: &str, second: i64) -> Pod {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let state = json!({"terminated": {"exitCode": 1, "finishedAt": at}});
        let status =
            json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"status": {"phase": phase, "containerStatuses": [status]}})).unwrap()
    }

    fn remaining_s(pods: &[(&str, i64)], now: i64) -> u64 {
        let mut ends = Ends::default();
        pods.iter().for_each(|(phase, second)| ends.add(&ended(phase, *second)));
        ends.remaining(Timestamp::from_second(now).unwrap()).unwrap_or_default().as_secs()
    }

    #[test]
    fn each_failure_since_the_last_success_doubles_the_wait() {
        assert_eq!(remaining_s(&[], 100), 0);
        assert_eq!(remaining_s(&[("Running", 100)], 100), 0);
        assert_eq!(remaining_s(&[("Failed", 100)], 100), 10);
        assert_eq!(remaining_s(&[("Failed", 100)], 111), 0);
        assert_eq!(remaining_s(&[("Failed", 103), ("Failed", 100)], 104), 19);
        assert_eq!(remaining_s(&[("Failed", 100), ("Succeeded", 101)], 102), 0);
        assert_eq!(remaining_s(&[("Failed", 100), ("Failed", 105), ("Succeeded", 101)], 106), 9);
        let many: Vec<_> = (0..50).map(|second| ("Failed", second)).collect();
        assert_eq!(remaining_s(&many, 49), 600);
    }

    fn job(uid: &str, condition: &str) -> Arc<Job> {
        let status = json!({"conditions": [{"type": condition, "status": "True"}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "j", "uid": uid}, "status": status})).unwrap())
    }

    fn known(failures: &Failures) -> Vec<String> {
        failures.known().ends.keys().cloned().collect()
    }

    #[test]
    fn what_a_job_leaves_is_forgotten_with_it() {
        let failures = Failures::default();
        let fill = || failures.known().ends.extend(["a", "b"].map(|uid| (uid.to_owned(), Ends::default())));
        let (a, other, over) = (job("a", "Suspended"), job("c", "Suspended"), job("a", "Failed"));
        for (new, left) in [(Some(&a), &["a", "b"][..]), (Some(&other), &["b"]), (Some(&over), &["b"]), (None, &["b"])]
        {
            fill();
            failures.forget(&Delta { old: Some(&a), new, is_initial: false });
            assert_eq!(known(&failures), left, "{new:?}");
        }
        fill();
        failures.known().sift(&[over, job("b", "Suspended")]);
        assert_eq!(known(&failures), ["b"], "Jobs that were gone or over when they became known");
    }
}
