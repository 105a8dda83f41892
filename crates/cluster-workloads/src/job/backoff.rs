//! How long a Job waits before it replaces failed Pods: 10 s after the first failure, twice as long after each further one, 10 minutes at
//! most; from the beginning after a success.
//!
//! Failed Pods say themselves when they failed, for as long as they are there. [`Failures`] remembers those that the Job has let go: they may
//! be gone. A restart forgets only what is gone too.

use std::collections::BTreeMap;
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

/// The ends of the Pods that Jobs have let go, by the Jobs' uids.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<String, Ends>>>);

impl Failures {
    /// Follows the caches.
    pub(super) fn follow(jobs: &Informer<Job>, pods: &Informer<Pod>) -> Self {
        let failures = Self::default();
        let (noting, forgetting, owners) = (failures.clone(), failures.clone(), jobs.clone());
        pods.subscribe(move |delta| noting.note(&owners, delta));
        jobs.subscribe(move |delta| {
            let ended = delta.new.is_none_or(|job| is_finished(job));
            if let Some(uid) = delta.latest().filter(|_| ended).and_then(|job| job.metadata.uid.as_ref()) {
                forgetting.all().remove(uid);
            }
        });
        failures
    }

    /// What is remembered of a Job.
    pub(super) fn of(&self, job: &Job) -> Ends {
        self.all().get(job.metadata.uid.as_deref().unwrap_or_default()).cloned().unwrap_or_default()
    }

    fn note(&self, jobs: &Informer<Job>, delta: &Delta<'_, Pod>) {
        let Some(pod) = delta.latest() else { return };
        let Some(key) = owner_key::<Job>(&pod.metadata) else { return };
        let uid = owners::controller_uid(&pod.metadata).unwrap_or_default();
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
        let mut all = self.all();
        if all.len() < MAX_JOBS || all.contains_key(uid) {
            all.entry(uid.to_owned()).or_default().add(pod);
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
