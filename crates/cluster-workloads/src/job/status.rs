//! A Job's status: its conditions, and the counts that a step leaves.
//!
//! `SuccessCriteriaMet` or `FailureTarget` says that the Job is decided, `Complete` or `Failed` that it is over: nothing of it runs any more, and
//! every Pod is counted. `Suspended` comes and goes with `spec.suspend`.

use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const FAILED: &str = "Failed";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
pub(super) const COMPLETE: &str = "Complete";
pub(super) const SUSPENDED: &str = "Suspended";
/// No condition of a Job, but what is told of a change that was refused.
pub(super) const REFUSED: &str = "Refused";

/// The status that a step leaves.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Outlook {
    pub(super) status: Option<JobStatus>,
    /// How many Pods there are if the step cannot be taken.
    #[serde(skip)]
    pub(super) now: Counts,
}

/// Numbers of Pods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) active: i32,
    pub(super) ready: i32,
    pub(super) terminating: i32,
}

impl Outlook {
    /// The status stays what it is.
    pub(super) fn unchanged() -> Self {
        Self { status: None, now: Counts::default() }
    }

    /// A Pod was refused: what was expected of the step is not so.
    pub(super) fn mark_refused(&mut self) {
        if let Some(status) = &mut self.status {
            self.now.write(status);
        }
    }
}

impl Counts {
    pub(super) fn write(self, status: &mut JobStatus) {
        status.active = at_least_one(self.active);
        status.ready = Some(self.ready);
        status.terminating = Some(self.terminating);
    }
}

/// A count as it is written: nothing for 0.
pub(super) fn at_least_one(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count > 0)
}

/// The condition that says that the Job is over, if it is.
pub(crate) fn end(job: &Job) -> Option<&JobCondition> {
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| matches!(condition.type_.as_str(), COMPLETE | FAILED) && is_true(condition))
}

/// Whether the Job is over.
pub(crate) fn is_finished(job: &Job) -> bool {
    end(job).is_some()
}

/// Whether the Job is over and has succeeded.
pub(crate) fn is_complete(job: &Job) -> bool {
    end(job).is_some_and(|condition| condition.type_ == COMPLETE)
}

pub(super) fn is_true(condition: &JobCondition) -> bool {
    condition.status == "True"
}

pub(super) fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition, unless it says the same already, or would only say that something is not so that was never so; true if it was set.
pub(super) fn set(status: &mut JobStatus, new: JobCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let said =
        |condition: &JobCondition| (condition.status.clone(), condition.reason.clone(), condition.message.clone());
    let is_set = match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(old) if said(old) == said(&new) => false,
        Some(old) => {
            *old = new;
            true
        }
        None if new.status == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    };
    if conditions.is_empty() {
        status.conditions = None;
    }
    is_set
}
