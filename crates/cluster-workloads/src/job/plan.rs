//! Decides the next step of a Job.

use std::collections::BTreeSet;

use base_controller::{Change, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::manage::{self, MAX_BURST, Managed};
use super::observe::{Observed, selector};
use super::spec::{self, TRACKING, is_tracked};
use super::status::{self, COMPLETE, Counts, FAILED, Outlook, SUCCESS_CRITERIA_MET, SUSPENDED, at_least_one};
use super::tally::{Entry, Tally, number, uid};
use super::verdict::{self, Verdict};
use crate::objects::{claim, pods};

/// Pods that the status names at most because they are not counted yet, and that one pass lets go.
const MAX_UNCOUNTED: usize = 500;

/// The next step. Adoptions and releases come first and alone: the counts are right in the next pass.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<Outlook> {
    let job = &*observed.job;
    let Some(spec) = job.spec.as_ref().filter(|_| !status::is_finished(job)) else {
        return Plan::new(Outlook::unchanged());
    };
    let claimed = claim::all_held(job, &selector(job), &observed.pods, TRACKING);
    if !claimed.changes.is_empty() {
        return Plan { changes: claimed.changes, ..Plan::new(Outlook::unchanged()) };
    }
    let tally = Tally::of(job, spec, &claimed.objects);
    let mut step = Step::new(&tally, now);
    step.decide(observed);
    step.track();
    step.finish();
    step.planned()
}

/// A step in the making.
struct Step<'a> {
    tally: &'a Tally<'a>,
    now: Timestamp,
    verdict: Option<Verdict>,
    status: JobStatus,
    managed: Managed,
    let_go: Vec<Change>,
    events: Vec<PlanEvent>,
}

impl<'a> Step<'a> {
    fn new(tally: &'a Tally<'a>, now: Timestamp) -> Self {
        let mut status = tally.status.clone();
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !spec::is_suspended(tally.spec) {
            status.start_time = Some(Time(now));
        }
        let (managed, let_go, events) = Default::default();
        Self { tally, now, verdict: verdict::of(tally, now), status, managed, let_go, events }
    }

    /// What becomes of the Pods that run. A decision is written down before anything follows from it.
    fn decide(&mut self, observed: &Observed) {
        if let Some(verdict) = &self.verdict {
            if verdict.is_written {
                self.managed.changes =
                    self.tally.active.iter().take(MAX_BURST).map(|pod| manage::delete(pod)).collect();
            }
        } else {
            let is_ending = self.tally.job.metadata.deletion_timestamp.is_some();
            if !is_ending {
                self.managed = manage::manage(self.tally, &observed.ends, self.now);
            }
            if self.is_complete() {
                let message = "Reached expected number of succeeded pods";
                self.verdict = Some(Verdict::new(SUCCESS_CRITERIA_MET, "CompletionsReached", message, self.now));
            } else if !is_ending {
                self.suspend_or_resume();
            }
        }
        if let Some(verdict) = self.verdict.as_ref().filter(|verdict| !verdict.is_written) {
            self.status.conditions.get_or_insert_default().push(verdict.condition.clone());
        }
    }

    fn is_complete(&self) -> bool {
        let has_enough = match self.tally.spec.completions {
            Some(completions) => self.tally.succeeded >= completions,
            None => self.tally.succeeded > 0,
        };
        has_enough && self.tally.active.is_empty() && self.managed.changes.is_empty()
    }

    fn suspend_or_resume(&mut self) {
        let is_suspended = spec::is_suspended(self.tally.spec);
        let (value, reason, message) = if is_suspended {
            ("True", "JobSuspended", "Job suspended")
        } else {
            ("False", "JobResumed", "Job resumed")
        };
        if status::set(&mut self.status, status::condition(SUSPENDED, value, reason, message, self.now)) {
            self.events.push(PlanEvent::normal(if is_suspended { "Suspended" } else { "Resumed" }, message));
            // The time that counts towards the deadline begins again.
            self.status.start_time = Some(Time(self.now)).filter(|_| !is_suspended);
        }
    }

    /// Each Pod that has ended is first named in the status, then let go, and then counted: so none is counted twice, or lost.
    fn track(&mut self) {
        let tracked: BTreeSet<&str> =
            self.tally.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| uid(pod)).collect();
        let (succeeded, mut succeeded_uids) = count_let_go(self.tally.uncounted_succeeded(), &tracked);
        let (failed, mut failed_uids) = count_let_go(self.tally.uncounted_failed(), &tracked);
        let verdict = self.verdict.as_ref();
        let has_job_failed = verdict.is_some_and(Verdict::is_failure);
        let is_settled = verdict.is_none_or(|verdict| verdict.is_written);
        let mut let_go = Vec::new();
        for pod in self.tally.pods.iter().filter(|pod| is_tracked(pod) && self.may_go(pod)) {
            let has_room = succeeded_uids.len() + failed_uids.len() < MAX_UNCOUNTED;
            match self.tally.entry(pod, has_job_failed) {
                Entry::Nothing if is_settled && let_go.len() < MAX_UNCOUNTED => let_go.push(manage::let_go(pod)),
                Entry::Succeeded if has_room => succeeded_uids.push(uid(pod).to_owned()),
                Entry::Failed if has_room => failed_uids.push(uid(pod).to_owned()),
                Entry::Nothing | Entry::Completed(_) | Entry::Succeeded | Entry::Failed => {}
            }
        }
        self.let_go = let_go;
        let old = &self.tally.status;
        self.status.failed = at_least_one(old.failed.unwrap_or_default() + failed);
        self.status.succeeded = at_least_one(old.succeeded.unwrap_or_default() + succeeded);
        if spec::is_indexed(self.tally.spec) {
            let completed = &self.tally.completed_indexes;
            self.status.succeeded = at_least_one(completed.len());
            self.status.completed_indexes = Some(completed.to_string()).filter(|text| !text.is_empty());
            self.status.failed_indexes = self.tally.failed_indexes.as_ref().map(ToString::to_string);
        }
        let uncounted = self.status.uncounted_terminated_pods.get_or_insert_default();
        uncounted.succeeded = Some(succeeded_uids).filter(|uids| !uids.is_empty());
        uncounted.failed = Some(failed_uids).filter(|uids| !uids.is_empty());
    }

    /// Whether a Pod has come to its end, as far as the Job is concerned.
    fn may_go(&self, pod: &Pod) -> bool {
        if self.tally.job.metadata.deletion_timestamp.is_some() || spec::has_succeeded(pod) {
            return true;
        }
        if self.verdict.is_some() {
            return !pods::is_active(pod);
        }
        let kept = || spec::index(pod).and_then(|index| self.tally.kept_for_index(index));
        spec::has_failed(self.tally.spec, pod) && kept().is_none_or(|kept| uid(kept) != uid(pod))
    }

    /// The Job is over once it is decided, nothing of it runs, and every Pod is counted.
    fn finish(&mut self) {
        let Some(verdict) = self.verdict.as_ref().filter(|verdict| verdict.is_written) else { return };
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        let is_counted = uncounted.is_none_or(|pods| pods.succeeded.is_none() && pods.failed.is_none())
            && !self.tally.pods.iter().any(|pod| is_tracked(pod));
        if !is_counted || !self.tally.active.is_empty() || !self.tally.terminating.is_empty() {
            return;
        }
        let (reason, message) = (verdict.condition.reason.clone(), verdict.condition.message.clone());
        let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
        if verdict.is_failure() {
            status::set(&mut self.status, status::condition(FAILED, "True", &reason, message.clone(), self.now));
            self.events.push(PlanEvent::warning(reason, message));
            return;
        }
        status::set(&mut self.status, status::condition(COMPLETE, "True", &reason, message, self.now));
        self.status.completion_time = Some(Time(self.now));
        let completions = self.tally.spec.completions;
        if completions.is_some_and(|completions| self.status.succeeded.unwrap_or_default() > completions) {
            let message = "Too many succeeded pods running after completion count reached";
            self.events.push(PlanEvent::warning("TooManySucceededPods", message));
        }
        self.events.push(PlanEvent::normal("Completed", "Job completed"));
    }

    fn planned(mut self) -> Plan<Outlook> {
        let active = &self.tally.active;
        let now = Counts {
            active: number(active.len()),
            ready: number(active.iter().filter(|pod| pods::is_ready(pod)).count()),
            terminating: number(self.tally.terminating.len()),
        };
        let then = Counts {
            active: now.active + self.managed.active,
            ready: now.ready + self.managed.ready,
            terminating: now.terminating + self.managed.terminating,
        };
        then.write(&mut self.status);
        let until_deadline = if self.verdict.is_none() { verdict::until_deadline(self.tally, self.now) } else { None };
        let again = self.managed.again.into_iter().chain(until_deadline).min();
        let changes = self.let_go.into_iter().chain(self.managed.changes).collect();
        let outlook = Outlook { status: Some(self.status), now };
        Plan { changes, events: self.events, again, ..Plan::new(outlook) }
    }
}

/// How many of the Pods that were named have been let go, and the names of the others.
fn count_let_go(named: &[String], tracked: &BTreeSet<&str>) -> (i32, Vec<String>) {
    let kept: Vec<String> = named.iter().filter(|uid| tracked.contains(uid.as_str())).cloned().collect();
    (number(named.len() - kept.len()), kept)
}

#[cfg(test)]
mod tests;
