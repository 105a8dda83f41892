//! CronJob: makes a Job whenever its schedule is due.
//!
//! A Job is named after the minute for which it is (`<cronjob>-<minutes since 1970>`), so the same one is not made twice, whatever happens
//! between the Job and the status. Of a schedule that comes more than once in a minute, Kubernetes makes the first Job alone; here the others
//! are named after their second. `status.active` lists the Jobs made here that run; `status.lastScheduleTime` is the time of the last one, from
//! which the next due time is reckoned. Of several due times that have passed, only the last is made up for.
//!
//! Jobs that are over go when there are more of them than the history limits say. A Job that somebody else made in a CronJob's name
//! (`kubectl create job --from`) is reported and counts in the history, but never as active.
//!
//! Who else writes: users `spec`; the Job controller the Jobs' status. Without `spec.timeZone` a schedule is in UTC. Specified by
//! `k8s.io/kubernetes/pkg/controller/cronjob`.

mod due;
mod history;
mod observe;
mod plan;
mod resources;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};

use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "cronjob-controller";

/// Keeps CronJobs true.
struct CronJobs {
    caches: Caches,
}

impl Reconciler for CronJobs {
    type Object = CronJob;
    type Observed = Observed;
    type Status = Option<CronJobStatus>;

    const WRITES: &'static [Write] = &[
        Write::child("batch", "Job"),
        Write::status("batch", "CronJob", &["active", "lastScheduleTime", "lastSuccessfulTime"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<CronJob>> {
        Some(&observed.cron_job)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let cron_jobs = context.informers.get::<CronJob>(Scope::all());
    let jobs = context.informers.get::<Job>(Scope::all());
    let caches = Caches::new(&cron_jobs, &jobs);
    Controller::new(NAME, CronJobs { caches }, &cron_jobs, context).owns(&jobs).start();
}
