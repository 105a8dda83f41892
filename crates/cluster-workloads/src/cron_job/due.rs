//! When a CronJob is due: which of its times has passed without a Job, and when the next one comes.

use std::time::Duration;

use base_cron::Schedule;
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::CronJob;

/// A wake-up comes so long after the due time, lest a clock that is set makes it come before.
const PADDING: Duration = Duration::from_millis(100);
/// More missed times than this are reported.
const MANY: i64 = 100;

/// The times that have passed since the last Job.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// The last of them.
    pub(super) latest: Option<Timestamp>,
    /// Whether there are so many that something must be wrong.
    pub(super) are_many: bool,
}

/// The schedule never comes twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("time difference between two schedules is less than 1 second")]
pub(super) struct NeverDue;

/// What has been missed and may be made up for still.
pub(super) fn missed(cron_job: &CronJob, schedule: &Schedule, now: Timestamp) -> Result<Missed, NeverDue> {
    let deadline = cron_job.spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    missed_since(since(cron_job, now).max(earliest.unwrap_or(Timestamp::MIN)), schedule, now)
}

/// How long it takes to the next due time.
pub(super) fn until_next(cron_job: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Duration> {
    let since = since(cron_job, now);
    let last = match missed_since(since, schedule, now) {
        Ok(missed) => missed.latest.unwrap_or(since),
        Err(NeverDue) => now,
    };
    let next = schedule.next(last)?;
    Some(next.duration_since(now).max(SignedDuration::ZERO).unsigned_abs() + PADDING)
}

/// The time of the last Job, or when the CronJob was made.
fn since(cron_job: &CronJob, now: Timestamp) -> Timestamp {
    let scheduled = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    scheduled.or(cron_job.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0)
}

fn missed_since(since: Timestamp, schedule: &Schedule, now: Timestamp) -> Result<Missed, NeverDue> {
    let Some(first) = schedule.next(since) else { return Err(NeverDue) };
    if now < first {
        return Ok(Missed::default());
    }
    let Some(second) = schedule.next(first) else { return Err(NeverDue) };
    if now < second {
        return Ok(Missed { latest: Some(first), are_many: false });
    }
    // Not counted one by one: there may be years of them.
    let interval_s = second.duration_since(first).as_secs().max(1);
    let count = now.duration_since(first).as_secs() / interval_s + 1;
    Ok(Missed { latest: latest(first, interval_s, schedule, now), are_many: count > MANY })
}

/// The last due time until now: looked for a few intervals back, and further where the schedule is less regular than it began.
fn latest(first: Timestamp, interval_s: i64, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let elapsed = now.duration_since(first).as_secs() / interval_s;
    let mut back = 1;
    loop {
        let start = SignedDuration::from_secs((elapsed - back).max(0).saturating_mul(interval_s));
        let mut found = Some(first).filter(|_| back >= elapsed);
        let mut at = schedule.next(first.checked_add(start).ok()?);
        while let Some(due) = at.filter(|due| *due <= now) {
            found = Some(due);
            at = schedule.next(due);
        }
        if found.is_some() {
            return found;
        }
        back *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MADE: &str = "2026-01-01T10:00:30Z";

    fn cron_job(schedule: &str, patch: Value) -> (CronJob, Schedule) {
        let base = json!({
            "metadata": {"name": "c", "creationTimestamp": MADE},
            "spec": {"schedule": schedule, "jobTemplate": {}},
        });
        let cron_job = serde_json::from_value(base_controller::overlay::overlay(&base, &patch)).unwrap();
        (cron_job, Schedule::parse(schedule).unwrap())
    }

    fn latest(schedule: &str, patch: Value, now: &str) -> (Option<String>, bool) {
        let (cron_job, schedule) = cron_job(schedule, patch);
        let missed = missed(&cron_job, &schedule, now.parse().unwrap()).unwrap();
        (missed.latest.map(|at| at.to_string()), missed.are_many)
    }

    #[test]
    fn the_last_time_that_has_passed_is_made_up_for() {
        let some = |at: &str| Some(at.to_owned());
        let plain = || json!({});
        assert_eq!(latest("0 * * * *", plain(), "2026-01-01T10:59:59Z"), (None, false));
        assert_eq!(latest("0 * * * *", plain(), "2026-01-01T11:00:00Z"), (some("2026-01-01T11:00:00Z"), false));
        assert_eq!(latest("0 * * * *", plain(), "2026-01-01T15:30:00Z"), (some("2026-01-01T15:00:00Z"), false));
        assert_eq!(latest("* * * * *", plain(), "2026-01-02T10:00:00Z"), (some("2026-01-02T10:00:00Z"), true));
        assert_eq!(latest("30 6-16/4 * * 1-5", plain(), "2026-01-05T00:00:00Z"), (some("2026-01-02T14:30:00Z"), false));
        assert_eq!(latest("@every 7m", plain(), "2026-01-01T10:30:00Z"), (some("2026-01-01T10:28:30Z"), false));
        let scheduled = json!({"status": {"lastScheduleTime": "2026-01-01T12:00:00Z"}});
        assert_eq!(latest("0 * * * *", scheduled, "2026-01-01T12:30:00Z"), (None, false));
        let strict = json!({"spec": {"startingDeadlineSeconds": 60}});
        assert_eq!(latest("0 * * * *", strict.clone(), "2026-01-01T11:00:50Z"), (some("2026-01-01T11:00:00Z"), false));
        assert_eq!(latest("0 * * * *", strict, "2026-01-01T11:01:01Z"), (None, false));
    }

    #[test]
    fn a_day_that_never_comes_is_an_error() {
        let (cron_job, schedule) = cron_job("59 23 31 2 *", json!({}));
        assert_eq!(missed(&cron_job, &schedule, MADE.parse().unwrap()), Err(NeverDue));
        assert_eq!(until_next(&cron_job, &schedule, MADE.parse().unwrap()), None);
    }

    #[test]
    fn the_next_time_is_waited_for() {
        let (cron_job, schedule) = cron_job("0 * * * *", json!({}));
        let until = |now: &str| until_next(&cron_job, &schedule, now.parse().unwrap()).unwrap();
        assert_eq!(until("2026-01-01T10:59:00Z"), Duration::from_secs(60) + PADDING);
        assert_eq!(until("2026-01-01T13:30:00Z"), Duration::from_secs(30 * 60) + PADDING);
    }
}
