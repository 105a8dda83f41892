//! Which Jobs that are over go: those beyond the history limits, the oldest first.

use std::sync::Arc;

use base_controller::{Change, PlanEvent};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::PropagationPolicy;

use crate::job;

/// The Jobs that have to go.
pub(super) fn superfluous<'a>(cron_job: &CronJob, jobs: &'a [Arc<Job>]) -> Vec<&'a Job> {
    let over = jobs.iter().map(|job| &**job).filter(|job| job::is_finished(job));
    let (succeeded, failed) = over.partition(|job| job::is_complete(job));
    let succeeded = beyond(succeeded, cron_job.spec.successful_jobs_history_limit);
    let failed = beyond(failed, cron_job.spec.failed_jobs_history_limit);
    succeeded.into_iter().chain(failed).filter(|job| job.metadata.deletion_timestamp.is_none()).collect()
}

fn beyond(mut jobs: Vec<&Job>, limit: Option<i32>) -> Vec<&Job> {
    let Some(limit) = limit else { return Vec::new() };
    let started = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    jobs.sort_by_key(|job| (started(job).is_none(), started(job), job.metadata.name.clone()));
    jobs.truncate(jobs.len().saturating_sub(usize::try_from(limit).unwrap_or_default()));
    jobs
}

/// Deletes a Job, and its Pods after it.
pub(super) fn delete(job: &Job) -> Change {
    Change::delete(job)
        .with_propagation(PropagationPolicy::Background)
        .with_event(PlanEvent::normal("SuccessfulDelete", "Deleted job {name}"))
        .or_event(PlanEvent::warning("FailedDelete", "Deleted job: {error}"))
}
