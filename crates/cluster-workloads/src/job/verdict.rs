//! Whether a Job is decided: has failed, or has succeeded by its success policy. That all completions are there is seen last, in `plan`.
//!
//! A decision is first written down as an interim condition (`FailureTarget`, `SuccessCriteriaMet`), so that nothing that happens to Pods
//! afterwards can change it; what is said of the Job's end (`Failed`, `Complete`) is the same in other words.

use std::time::Duration;

use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;

use super::failure_policy::{self, Treatment};
use super::spec::{self, has_failed};
use super::status::{FAILURE_TARGET, SUCCESS_CRITERIA_MET, condition, is_true};
use super::success_policy;
use super::tally::Tally;
use crate::objects::pods;

/// What was decided, as its interim condition.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) condition: JobCondition,
    /// Whether the cached status says so.
    pub(super) is_written: bool,
}

impl Verdict {
    pub(super) fn new(type_: &str, reason: &str, message: impl Into<String>, now: Timestamp) -> Self {
        Self { condition: condition(type_, "True", reason, message, now), is_written: false }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.condition.type_ == FAILURE_TARGET
    }
}

/// The decision, if there is one. What is written stands; then failures go before successes.
pub(super) fn of(tally: &Tally<'_>, now: Timestamp) -> Option<Verdict> {
    let written = |type_: &str| {
        let mut conditions = tally.status.conditions.iter().flatten();
        let found = conditions.find(|condition| condition.type_ == type_ && is_true(condition))?;
        Some(Verdict { condition: found.clone(), is_written: true })
    };
    written(SUCCESS_CRITERIA_MET)
        .or_else(|| written(FAILURE_TARGET))
        .or_else(|| failure(tally, now).map(|(reason, message)| Verdict::new(FAILURE_TARGET, reason, message, now)))
        .or_else(|| {
            let message = success_policy::matched(tally.spec, &tally.completed_indexes);
            message.map(|message| Verdict::new(SUCCESS_CRITERIA_MET, "SuccessPolicy", message, now))
        })
}

fn failure(tally: &Tally<'_>, now: Timestamp) -> Option<(&'static str, String)> {
    if let Some(message) = by_policy(tally) {
        return Some(("PodFailurePolicy", message));
    }
    let (spec, limit) = (tally.spec, spec::backoff_limit(tally.spec));
    let reason = if tally.failed > limit || has_restarted_too_often(spec, tally.pods.iter().map(|pod| &***pod)) {
        ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    } else if until_deadline(tally, now).is_some_and(|left| left.is_zero()) {
        ("DeadlineExceeded", "Job was active longer than specified deadline")
    } else {
        by_index(tally)?
    };
    Some((reason.0, reason.1.to_owned()))
}

fn by_policy(tally: &Tally<'_>) -> Option<String> {
    let failed = tally.pods.iter().filter(|pod| has_failed(tally.spec, pod));
    let mut treatments = failed.map(|pod| failure_policy::treat(tally.spec, pod));
    treatments.find_map(|treatment| match treatment {
        Treatment::FailJob(message) => Some(message),
        _ => None,
    })
}

fn by_index(tally: &Tally<'_>) -> Option<(&'static str, &'static str)> {
    let failed = tally.failed_indexes.as_ref()?.len();
    if tally.spec.max_failed_indexes.is_some_and(|limit| failed > limit) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", message));
    }
    let is_over = failed > 0 && failed + tally.completed_indexes.len() >= tally.spec.completions.unwrap_or_default();
    is_over.then_some(("FailedIndexes", "Job has failed indexes"))
}

/// Containers that are started again count as failures of a Job whose Pods restart them.
fn has_restarted_too_often<'a>(spec: &JobSpec, pods: impl Iterator<Item = &'a Pod>) -> bool {
    let template = spec.template.spec.as_ref();
    if template.and_then(|template| template.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let may_run = pods.filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let statuses = may_run
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten());
    let restarts: i32 = statuses.map(|status| status.restart_count).sum();
    restarts > 0 && restarts >= spec::backoff_limit(spec)
}

/// How long the Job may be active still, if that is limited; nothing is left once the deadline is reached.
pub(super) fn until_deadline(tally: &Tally<'_>, now: Timestamp) -> Option<Duration> {
    let seconds = tally.spec.active_deadline_seconds.filter(|_| !spec::is_suspended(tally.spec))?;
    let started = tally.status.start_time.as_ref().map_or(now, |time| time.0);
    let deadline = started.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    Some(deadline.duration_since(now).max(SignedDuration::ZERO).unsigned_abs())
}
