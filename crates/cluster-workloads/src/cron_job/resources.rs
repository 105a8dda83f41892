//! The Job that a CronJob makes from its template.

use base_rt::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::objects::owners;

/// The annotation that says for which time a Job is.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The name of the Job for this time: after its minute.
pub(super) fn job_name(cron_job: &CronJob, scheduled: Timestamp) -> String {
    numbered(cron_job, scheduled.as_second() / 60)
}

/// The name of the Job for this time if an earlier one has the name of the minute: after its second.
pub(super) fn later_job_name(cron_job: &CronJob, scheduled: Timestamp) -> String {
    numbered(cron_job, scheduled.as_second())
}

fn numbered(cron_job: &CronJob, number: i64) -> String {
    format!("{}-{number}", cron_job.metadata.name.as_deref().unwrap_or_default())
}

/// The Job of this name for this time, which is told in the CronJob's time zone.
pub(super) fn make_job(cron_job: &CronJob, name: String, (scheduled, zone): (Timestamp, TimeZone)) -> Job {
    let template = &cron_job.spec.job_template;
    let of_template = template.metadata.clone().unwrap_or_default();
    let mut annotations = of_template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), rfc3339(scheduled, zone));
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: cron_job.metadata.namespace.clone(),
        labels: of_template.labels,
        annotations: Some(annotations),
        owner_references: Some(vec![owners::controller_reference(cron_job)]),
        ..ObjectMeta::default()
    };
    Job { metadata, spec: template.spec.clone(), status: None }
}

/// For which time this CronJob made a Job; none if somebody else made it.
pub(super) fn scheduled(cron_job: &CronJob, job: &Job) -> Option<Timestamp> {
    let scheduled = job.metadata.annotations.as_ref()?.get(SCHEDULED)?.parse().ok()?;
    let names = [job_name(cron_job, scheduled), later_job_name(cron_job, scheduled)];
    names.iter().any(|name| job.metadata.name.as_ref() == Some(name)).then_some(scheduled)
}

fn rfc3339(at: Timestamp, zone: TimeZone) -> String {
    let at = at.to_zoned(zone);
    let suffix = if at.offset().is_zero() { "Z".to_owned() } else { at.strftime("%:z").to_string() };
    format!("{}{suffix}", at.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// How `status.active` names a Job.
pub(super) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}
