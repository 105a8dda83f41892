//! Job: Pods that run to their end, until enough of them have succeeded.
//!
//! A pass compares the Pods with the spec and takes a step: makes or deletes some (`manage`), sees whether the Job is decided (`verdict`),
//! and keeps the books (`plan`), of which nothing may get lost and nothing may be counted twice:
//!
//! ```text
//! Pod ends ─► status.uncountedTerminatedPods names it ─► its finalizer goes ─► it is counted, and named no more
//! Job decided ─► SuccessCriteriaMet, FailureTarget ─► what runs is deleted ─► all counted ─► Complete, Failed
//! ```
//! Each arrow is a pass of its own, which acts only on what the caches show to be written; so a crash or a conflict between any two writes
//! changes nothing. Of an indexed Job, `status.completedIndexes` takes the place of names.
//!
//! Who else writes: users and CronJobs `spec`, the node the Pods' status, the owner GC the deletions of Pods whose Job is gone. `orphans` lets go
//! what no Job will count. Specified by `k8s.io/kubernetes/pkg/controller/job` and its recorded timeline.

mod backoff;
mod failure_policy;
mod indexes;
mod manage;
mod observe;
mod orphans;
mod plan;
mod resources;
mod spec;
mod status;
mod success_policy;
mod tally;
mod verdict;

pub(crate) use status::{end, is_complete, is_finished};

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Condition, Context, Controller, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use crate::objects::claim;
use observe::{Caches, Observed};
use status::Outlook;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "job-controller";

/// Keeps Jobs true.
struct Jobs {
    caches: Caches,
}

impl Reconciler for Jobs {
    type Object = Job;
    type Observed = Observed;
    type Status = Outlook;

    const WRITES: &'static [Write] = &[
        Write::child("", "Pod"),
        Write::status(
            "batch",
            "Job",
            &[
                "active",
                "ready",
                "terminating",
                "succeeded",
                "failed",
                "completedIndexes",
                "failedIndexes",
                "uncountedTerminatedPods",
                "startTime",
                "completionTime",
                "conditions",
            ],
        ),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Job>> {
        Some(&observed.job)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Outlook> {
        plan::plan(observed, now)
    }

    fn mark_refused(&self, status: &mut Outlook, _condition: &Condition, _now: Timestamp) {
        status.mark_refused();
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let jobs = context.informers.get::<Job>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let caches = Caches::new(&jobs, &pods);
    Controller::new(NAME, Jobs { caches }, &jobs, context)
        .owns(&pods)
        .watches(&pods, claim::takers(&jobs, observe::selector))
        .start();
    orphans::start(context);
}
