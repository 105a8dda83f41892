//! Jobs go when they have been over for as long as `spec.ttlSecondsAfterFinished` says, and their Pods before them.
//!
//! Specified by `k8s.io/kubernetes/pkg/controller/ttlafterfinished`.

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Change, Context, Controller, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use kube::api::PropagationPolicy;
use serde::Serialize;

use crate::job;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "ttl-after-finished-controller";

/// Removes Jobs that are over.
struct TtlAfterFinished {
    jobs: Informer<Job>,
}

/// The facts about one Job.
#[derive(Debug, Serialize)]
struct Observed {
    job: Arc<Job>,
}

impl Reconciler for TtlAfterFinished {
    type Object = Job;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[Write::deletion("batch", "Job")];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.jobs.get(key).filter(|job| due(job).is_some()).map(|job| Observed { job })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Job>> {
        Some(&observed.job)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(&observed.job, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let jobs = context.informers.get::<Job>(Scope::all());
    Controller::new(NAME, TtlAfterFinished { jobs: jobs.clone() }, &jobs, context).start();
}

fn plan(job: &Job, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    match due(job) {
        Some(due) if due > now => plan.again = Some(due.duration_since(now).unsigned_abs()),
        // Another version may say another time.
        Some(_) => {
            plan.changes.push(Change::delete(job).with_propagation(PropagationPolicy::Foreground).as_cached());
        }
        None => {}
    }
    plan
}

/// When the Job goes; none if it stays, or goes already.
fn due(job: &Job) -> Option<Timestamp> {
    let ttl_s = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let over = job::end(job).filter(|_| job.metadata.deletion_timestamp.is_none())?;
    over.last_transition_time.as_ref()?.0.checked_add(SignedDuration::from_secs(ttl_s.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(ttl_s: Value, conditions: Value, now: &str) -> Plan<()> {
        let job = json!({
            "metadata": {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"ttlSecondsAfterFinished": ttl_s, "template": {}}, "status": {"conditions": conditions},
        });
        plan(&serde_json::from_value(job).unwrap(), now.parse().unwrap())
    }

    #[test]
    fn a_job_goes_so_long_after_its_end() {
        let over =
            |type_: &str| json!([{"type": type_, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let early = planned(json!(30), over("Complete"), "2026-01-01T00:00:10Z");
        assert_eq!((early.changes.len(), early.again.unwrap().as_secs()), (0, 20));
        for end in ["Complete", "Failed"] {
            let changes = planned(json!(30), over(end), "2026-01-01T00:00:30Z").changes;
            let expected = json!([{"delete": "Job.batch n/j", "propagationPolicy": "Foreground"}]);
            assert_eq!(serde_json::to_value(changes).unwrap(), expected);
        }
        assert_eq!(planned(json!(0), over("FailureTarget"), "2026-01-01T00:00:30Z").changes.len(), 0);
        assert_eq!(planned(Value::Null, over("Complete"), "2026-01-01T00:00:30Z").changes.len(), 0);
    }
}
