//! A Job's Pods, counted: what runs, what has ended, and what of it the status already says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::failure_policy::{self, Treatment};
use super::indexes::Indexes;
use super::spec::{self, has_failed, has_succeeded, is_tracked};
use crate::objects::pods;

/// The facts that decisions are made of.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    pub(super) job: &'a Job,
    pub(super) spec: &'a JobSpec,
    /// As the cache has it.
    pub(super) status: JobStatus,
    /// Its Pods: those of an indexed Job in the order of their indexes.
    pub(super) pods: Vec<&'a Arc<Pod>>,
    /// Neither ended nor being deleted.
    pub(super) active: Vec<&'a Arc<Pod>>,
    /// Being deleted, and not ended yet.
    pub(super) terminating: Vec<&'a Arc<Pod>>,
    /// How many have succeeded, those included of which the status does not tell yet.
    pub(super) succeeded: i32,
    /// How many have failed, those included of which the status does not tell yet.
    pub(super) failed: i32,
    /// The indexes of which the status says that they are completed.
    pub(super) known_indexes: Indexes,
    /// All that are.
    pub(super) completed_indexes: Indexes,
    /// The indexes that have failed; none if they have no limits of their own.
    pub(super) failed_indexes: Option<Indexes>,
    /// The failed Pods, by their indexes, that stay until there are others in their places, which say how many failed before them.
    kept: BTreeMap<i32, &'a Arc<Pod>>,
}

/// What the status has to say of a Pod before it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing, or it says so.
    Nothing,
    Succeeded,
    Completed(i32),
    Failed,
}

impl<'a> Tally<'a> {
    pub(super) fn of(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>]) -> Self {
        let mut pods: Vec<&Arc<Pod>> = pods.iter().collect();
        if spec::is_indexed(spec) {
            pods.sort_by_key(|pod| spec::index(pod));
        }
        let is_ending = |pod: &Pod| pods::is_terminating(pod) && !pods::is_finished(pod);
        let mut tally = Self {
            job,
            spec,
            status: job.status.clone().unwrap_or_default(),
            active: pods.iter().copied().filter(|pod| pods::is_active(pod)).collect(),
            terminating: pods.iter().copied().filter(|pod| is_ending(pod)).collect(),
            pods,
            succeeded: 0,
            failed: 0,
            known_indexes: Indexes::default(),
            completed_indexes: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
        };
        tally.count();
        tally
    }

    fn count(&mut self) {
        let fresh = |is_counted: &dyn Fn(&Pod) -> bool| self.fresh().filter(|pod| is_counted(pod)).count();
        let succeeded = fresh(&has_succeeded) + self.uncounted_succeeded().len();
        let failed =
            fresh(&|pod| has_failed(self.spec, pod) && failure_policy::treat(self.spec, pod) != Treatment::Ignore)
                + self.uncounted_failed().len();
        self.succeeded = self.status.succeeded.unwrap_or_default() + number(succeeded);
        self.failed = self.status.failed.unwrap_or_default() + number(failed);
        if spec::is_indexed(self.spec) {
            self.count_indexes();
        }
    }

    fn count_indexes(&mut self) {
        let completions = self.spec.completions.unwrap_or_default();
        let parse = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
        let tracked = |is_meant: &dyn Fn(&Pod) -> bool| -> Indexes {
            let pods = self.pods.iter().filter(|pod| is_tracked(pod) && is_meant(pod));
            pods.filter_map(|pod| spec::valid_index(self.spec, pod)).collect()
        };
        let known = parse(&self.status.completed_indexes);
        let completed = known.union(&tracked(&has_succeeded));
        let failed = self
            .spec
            .backoff_limit_per_index
            .map(|limit| parse(&self.status.failed_indexes).union(&tracked(&|pod| fails_index(self.spec, pod, limit))));
        self.succeeded = completed.len();
        (self.known_indexes, self.completed_indexes, self.failed_indexes) = (known, completed, failed);
        self.kept = self.failed_indexes.as_ref().map(|failed| self.kept(failed)).unwrap_or_default();
    }

    fn kept(&self, failed: &Indexes) -> BTreeMap<i32, &'a Arc<Pod>> {
        let active: Indexes = self.active.iter().filter_map(|pod| spec::index(pod)).collect();
        let settled = active.union(failed).union(&self.completed_indexes);
        let failures = |pod: &Pod| {
            let (counted, ignored) = spec::index_failures(pod);
            (counted + ignored, spec::finished_at(pod))
        };
        let mut kept: BTreeMap<i32, &'a Arc<Pod>> = BTreeMap::new();
        for pod in self.pods.iter().copied().filter(|pod| is_tracked(pod) && has_failed(self.spec, pod)) {
            let Some(index) = spec::valid_index(self.spec, pod).filter(|index| !settled.has(*index)) else { continue };
            let is_later = kept.get(&index).is_none_or(|other| failures(other) <= failures(pod));
            if is_later {
                kept.insert(index, pod);
            }
        }
        kept
    }

    pub(super) fn uncounted_succeeded(&self) -> &[String] {
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        uncounted.and_then(|uncounted| uncounted.succeeded.as_deref()).unwrap_or_default()
    }

    pub(super) fn uncounted_failed(&self) -> &[String] {
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        uncounted.and_then(|uncounted| uncounted.failed.as_deref()).unwrap_or_default()
    }

    /// The Pods whose end the status does not tell, should they have one.
    fn fresh(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let known: BTreeSet<&str> =
            self.uncounted_succeeded().iter().chain(self.uncounted_failed()).map(String::as_str).collect();
        self.pods
            .iter()
            .copied()
            .filter(move |pod| is_tracked(pod) && !known.contains(uid(pod)) && self.is_counted_at_all(pod))
    }

    /// Pods of an indexed Job without an index of it count for nothing.
    fn is_counted_at_all(&self, pod: &Pod) -> bool {
        !spec::is_indexed(self.spec) || spec::valid_index(self.spec, pod).is_some()
    }

    /// What has to be written of a Pod that may go. Once the Job has failed, whatever has not succeeded has failed.
    pub(super) fn entry(&self, pod: &Pod, has_job_failed: bool) -> Entry {
        let has = |uids: &[String]| uids.iter().any(|known| known == uid(pod));
        if !self.is_counted_at_all(pod) || has(self.uncounted_failed()) {
            return Entry::Nothing;
        }
        if has_succeeded(pod) {
            return match spec::valid_index(self.spec, pod).filter(|_| spec::is_indexed(self.spec)) {
                Some(index) if self.known_indexes.has(index) => Entry::Nothing,
                Some(index) => Entry::Completed(index),
                None if has(self.uncounted_succeeded()) => Entry::Nothing,
                None => Entry::Succeeded,
            };
        }
        let is_failure = has_job_failed || has_failed(self.spec, pod);
        let counts = is_failure && failure_policy::treat(self.spec, pod) != Treatment::Ignore;
        if counts { Entry::Failed } else { Entry::Nothing }
    }

    /// The failed Pod that stays until there is another one for its index.
    pub(super) fn kept_for_index(&self, index: i32) -> Option<&'a Arc<Pod>> {
        self.kept.get(&index).copied()
    }
}

fn fails_index(spec: &JobSpec, pod: &Pod, limit: i32) -> bool {
    if !has_failed(spec, pod) {
        return false;
    }
    match failure_policy::treat(spec, pod) {
        Treatment::FailIndex => true,
        Treatment::Ignore => false,
        Treatment::Count | Treatment::FailJob(_) => spec::index_failures(pod).0 >= limit,
    }
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
