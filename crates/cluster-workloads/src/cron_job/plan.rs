//! Decides the next step of a CronJob.

use std::time::Duration;

use base_controller::{Change, Plan, PlanEvent};
use base_cron::Schedule;
use base_rt::Timestamp;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::due::{self, Missed};
use super::observe::Observed;
use super::{history, resources};
use crate::job;

type CronJobPlan = Plan<Option<CronJobStatus>>;

/// The next step. What a new Job changes in the status follows when the cache shows it.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> CronJobPlan {
    let cron_job = &*observed.cron_job;
    let status = cron_job.status.clone().unwrap_or_default();
    let mut step = Step { observed, cron_job, status, changes: Vec::new(), events: Vec::new(), now };
    step.clean_up();
    step.look_at_jobs();
    let is_ending = cron_job.metadata.deletion_timestamp.is_some();
    let again = if is_ending { None } else { step.follow_schedule() };
    let Step { status, changes, events, .. } = step;
    Plan { changes, events, again, ..Plan::new(Some(status)) }
}

/// A step in the making.
struct Step<'a> {
    observed: &'a Observed,
    cron_job: &'a CronJob,
    status: CronJobStatus,
    changes: Vec<Change>,
    events: Vec<PlanEvent>,
    now: Timestamp,
}

impl Step<'_> {
    fn clean_up(&mut self) {
        for job in history::superfluous(self.cron_job, &self.observed.jobs) {
            self.changes.push(history::delete(job));
            self.forget(uid(job));
        }
    }

    fn look_at_jobs(&mut self) {
        let mut made: Vec<_> =
            self.observed.jobs.iter().filter_map(|job| Some((self.made_since(job)?, &**job))).collect();
        made.sort_by_key(|(scheduled, _)| *scheduled);
        for (scheduled, job) in made {
            self.status.active.get_or_insert_default().push(resources::reference(job));
            self.status.last_schedule_time = Some(Time(scheduled));
        }
        self.observed.jobs.iter().for_each(|job| self.look_at(job));
        for active in self.status.active.clone().unwrap_or_default() {
            let uid_of_active = active.uid.as_deref().unwrap_or_default();
            if !self.observed.jobs.iter().any(|job| uid(job) == uid_of_active) {
                let name = active.name.as_deref().unwrap_or_default();
                self.tell("MissingJob", format!("Active job went missing: {name}"));
                self.forget(uid_of_active);
            }
        }
    }

    /// The time for which a Job was made of which the status does not tell yet.
    fn made_since(&self, job: &Job) -> Option<Timestamp> {
        let scheduled = resources::scheduled(self.cron_job, job)?;
        let last = self.status.last_schedule_time.as_ref();
        last.is_none_or(|last| scheduled > last.0).then_some(scheduled)
    }

    fn look_at(&mut self, job: &Job) {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let is_active = self.status.active.iter().flatten().any(|active| active.uid.as_deref() == Some(uid(job)));
        let Some(end) = job::end(job) else {
            if !is_active {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                self.events.push(PlanEvent::warning("UnexpectedJob", message));
            }
            return;
        };
        if is_active {
            self.tell("SawCompletedJob", format!("Saw completed job: {name}, condition: {}", end.type_));
            self.forget(uid(job));
        }
        if job::is_complete(job) {
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
            self.status.last_successful_time = self.status.last_successful_time.take().max(completed);
        }
    }

    /// Makes the Job that is due. How long it takes to the next one; none if nothing is to be waited for.
    fn follow_schedule(&mut self) -> Option<Duration> {
        let spec = &self.cron_job.spec;
        let zone = match spec.time_zone.as_deref().map(|name| TimeZone::get(name).map_err(|_| name)) {
            None => TimeZone::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(name)) => {
                return self.warn("UnknownTimeZone", format!("invalid timeZone: {name:?}: unknown time zone {name}"));
            }
        };
        if spec.suspend == Some(true) {
            return None;
        }
        let schedule = match self.schedule() {
            Ok(schedule) => schedule,
            Err(why) => {
                return self.warn("UnparseableSchedule", format!("unparseable schedule: {:?} : {why}", spec.schedule));
            }
        };
        let missed = match due::missed(self.cron_job, &schedule, self.now) {
            Ok(missed) => missed,
            Err(why) => return self.warn("InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule)),
        };
        if let Some(scheduled) = missed.latest {
            self.make_up_for(scheduled, &missed, zone);
        }
        due::until_next(self.cron_job, &schedule, self.now)
    }

    fn schedule(&mut self) -> Result<Schedule, base_cron::ScheduleError> {
        let spec = &self.cron_job.spec;
        if spec.schedule.contains("TZ") {
            let text = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.events.push(PlanEvent::warning("UnsupportedSchedule", text));
            return Schedule::parse(&spec.schedule);
        }
        match &spec.time_zone {
            Some(zone) => Schedule::parse(&format!("TZ={zone} {}", spec.schedule)),
            None => Schedule::parse(&spec.schedule),
        }
    }

    fn make_up_for(&mut self, scheduled: Timestamp, missed: &Missed, zone: TimeZone) {
        let spec = &self.cron_job.spec;
        if missed.are_many {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.events.push(PlanEvent::warning("TooManyMissedTimes", text));
        }
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        if deadline.and_then(|deadline| scheduled.checked_add(deadline).ok()).is_some_and(|last| last < self.now) {
            let at = scheduled.strftime("%a, %d %b %Y %H:%M:%S +0000");
            self.events.push(PlanEvent::warning("MissSchedule", format!("Missed scheduled time to start a job: {at}")));
            return;
        }
        let is_done = self.status.last_schedule_time.as_ref().is_some_and(|last| last.0 >= scheduled);
        let name = self.name_for(scheduled);
        if is_done || self.observed.taken_names.contains(&name) {
            return;
        }
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if self.status.active.iter().flatten().next().is_some() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.tell("JobAlreadyActive", text);
                return;
            }
            Some("Replace") => self.delete_active(),
            _ => {}
        }
        let job = resources::make_job(self.cron_job, name, (scheduled, zone));
        let creation = Change::create(&job)
            .with_event(PlanEvent::normal("SuccessfulCreate", "Created job {name}"))
            .or_event(PlanEvent::warning("FailedCreate", "Error creating job: {error}"));
        self.changes.push(creation);
    }

    /// The name of the Job for a time. `@every 30s` comes twice a minute.
    fn name_for(&self, scheduled: Timestamp) -> String {
        let name = resources::job_name(self.cron_job, scheduled);
        let mut jobs = self.observed.jobs.iter();
        let is_taken = jobs.any(|job| {
            let at = resources::scheduled(self.cron_job, job);
            job.metadata.name.as_ref() == Some(&name) && at.is_some_and(|at| at != scheduled)
        });
        if is_taken { resources::later_job_name(self.cron_job, scheduled) } else { name }
    }

    fn delete_active(&mut self) {
        let active = self.status.active.take().unwrap_or_default();
        let is_active = |job: &Job| active.iter().any(|active| active.uid.as_deref() == Some(uid(job)));
        let jobs = self.observed.jobs.iter().filter(|job| is_active(job));
        self.changes.extend(jobs.map(|job| history::delete(job)));
    }

    fn forget(&mut self, uid: &str) {
        let active = self.status.active.take().unwrap_or_default();
        let others: Vec<_> = active.into_iter().filter(|active| active.uid.as_deref() != Some(uid)).collect();
        self.status.active = Some(others).filter(|others| !others.is_empty());
    }

    fn tell(&mut self, reason: &str, message: impl Into<String>) {
        self.events.push(PlanEvent::normal(reason, message));
    }

    /// Nothing more happens until somebody changes the CronJob.
    fn warn(&mut self, reason: &str, message: String) -> Option<Duration> {
        self.events.push(PlanEvent::warning(reason, message));
        None
    }
}

fn uid(job: &Job) -> &str {
    job.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::objects::owners;
    use crate::testing::{Row, Rows};
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        Rows::load("src/cron_job/testdata/plan.yaml")
            .check(|row| serde_json::to_value(plan(&observed(row), row.now)).unwrap());
    }

    fn observed(row: &Row) -> Observed {
        let cron_job = row.one::<CronJob>();
        let is_own = |job: &Arc<Job>| owners::controller_uid(&job.metadata) == cron_job.metadata.uid.as_deref();
        let (own, others) = row.all::<Job>().into_iter().partition::<Vec<_>, _>(is_own);
        Observed::new(cron_job, own, &others)
    }

    #[test]
    fn a_second_time_of_a_minute_has_a_job_of_its_own() {
        let made = |name: &str, at: &str| {
            let owner =
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u", "controller": true});
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {}}, "metadata": {
                "name": name, "namespace": "n", "uid": name, "ownerReferences": [owner],
                "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": at},
            }})
        };
        let cron_job = json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T10:00:00Z"},
            "spec": {"schedule": "@every 20s", "jobTemplate": {"spec": {"template": {}}}},
            "status": {"lastScheduleTime": "2026-01-01T10:00:20Z"},
        });
        let first = made("c-29454360", "2026-01-01T10:00:20Z");
        let mut row = Row::of(vec![cron_job.clone(), first.clone()]);
        row.now = "2026-01-01T10:00:41Z".parse().unwrap();
        let created = |row: &Row| json!(plan(&observed(row), row.now).changes)[0]["create"].clone();
        assert_eq!(created(&row), "Job.batch n/c-1767261640");
        let mut row = Row::of(vec![cron_job, first, made("c-1767261640", "2026-01-01T10:00:40Z")]);
        row.now = "2026-01-01T10:00:41Z".parse().unwrap();
        let status = plan(&observed(&row), row.now).status.unwrap();
        assert_eq!(status.last_schedule_time.unwrap().0.to_string(), "2026-01-01T10:00:40Z", "it is the CronJob's");
        assert_eq!(created(&row), Value::Null, "and made once");
    }
}
