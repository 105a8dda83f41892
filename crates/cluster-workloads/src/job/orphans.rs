//! Pods that still wait to be counted by a Job that is gone, or over, or theirs no more: their finalizer goes.

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Index, Informer, Key, Plan, Reconciler, Scope, owner_key};
use base_rt::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::status::is_finished;
use super::{manage, spec};
use crate::objects::owners;

/// The name of this controller: of its tasks and its metrics.
const NAME: &str = "job-orphan-pods";

struct Orphans {
    pods: Informer<Pod>,
    jobs: Informer<Job>,
}

/// A Pod that nobody will count.
#[derive(Debug, Serialize)]
struct Observed {
    pod: Arc<Pod>,
}

impl Reconciler for Orphans {
    type Object = Pod;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] =
        &[Write::fields("", "Pod", &["metadata.finalizers[batch.kubernetes.io/job-tracking]"])];

    fn gather(&self, key: &Key) -> Option<Observed> {
        let pod = self.pods.get(key).filter(|pod| spec::is_tracked(pod))?;
        is_orphan(&pod, |job| self.jobs.get(job)).then_some(Observed { pod })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Pod>> {
        Some(&observed.pod)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<()> {
        Plan { changes: vec![manage::let_go(&observed.pod)], ..Plan::default() }
    }
}

pub(super) fn start(context: &Context) {
    let pods = context.informers.get::<Pod>(Scope::all());
    let jobs = context.informers.get::<Job>(Scope::all());
    let by_controller = owners::by_controller(&pods);
    let orphans = Orphans { pods: pods.clone(), jobs: jobs.clone() };
    Controller::of_those(NAME, orphans, &pods, context, spec::is_tracked)
        .watches(&jobs, move |delta| left_behind(&by_controller, delta))
        .start();
}

/// The Pods of a Job that has gone or is over.
fn left_behind(pods: &Index<Pod>, delta: &Delta<'_, Job>) -> Vec<Key> {
    let over = delta.latest().filter(|_| delta.new.is_none_or(|job| is_finished(job)));
    let pods = over.and_then(|job| job.metadata.uid.as_deref()).map(|uid| pods.get(uid)).unwrap_or_default();
    pods.iter().filter(|pod| spec::is_tracked(pod)).map(|pod| Key::of(&**pod)).collect()
}

/// Whether no Job will count the Pod. What another kind controls is that kind's business.
fn is_orphan(pod: &Pod, job_at: impl FnOnce(&Key) -> Option<Arc<Job>>) -> bool {
    let Some(owner) = owners::controller_of(&pod.metadata) else { return true };
    let Some(key) = owner_key::<Job>(&pod.metadata) else { return false };
    let job = job_at(&key).filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
    job.is_none_or(|job| is_finished(&job) && !spec::is_managed_by_another(&job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_waits_for_a_job_that_will_count_it() {
        let pod = |api: &str, kind: &str| -> Pod {
            let owner = json!({"apiVersion": api, "kind": kind, "name": "j", "uid": "u", "controller": true});
            serde_json::from_value(json!({"metadata": {"namespace": "n", "ownerReferences": [owner]}})).unwrap()
        };
        let job = |uid: &str, spec: Value, conditions: Value| -> Option<Arc<Job>> {
            let mut spec = spec;
            spec["template"] = json!({});
            let job = json!({"metadata": {"uid": uid}, "spec": spec, "status": {"conditions": conditions}});
            Some(Arc::new(serde_json::from_value(job).unwrap()))
        };
        let over = || json!([{"type": "Failed", "status": "True"}]);
        let of_job = pod("batch/v1", "Job");
        assert!(!is_orphan(&of_job, |_| job("u", json!({}), json!([]))), "it runs");
        assert!(is_orphan(&of_job, |_| job("u", json!({}), over())), "it is over");
        assert!(is_orphan(&of_job, |_| job("other", json!({}), json!([]))), "another of that name");
        assert!(is_orphan(&of_job, |_| None), "it is gone");
        assert!(!is_orphan(&of_job, |_| job("u", json!({"managedBy": "x.io/y"}), over())), "somebody else's");
        assert!(!is_orphan(&pod("x.io/v1", "Thing"), |_| None), "not a Job's");
        assert!(is_orphan(&Pod::default(), |_| None), "nobody's");
    }
}
