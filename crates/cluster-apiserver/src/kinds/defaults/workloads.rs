//! Defaults of Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and CronJobs.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::value::{as_object, is_absent, set_default, set_default_str};

pub(super) fn hook(name: &str) -> Option<Hook> {
    Some(match name {
        "api.apps.v1.DeploymentSpec" => deployment,
        "api.apps.v1.ReplicaSetSpec" => |spec| set_default(spec, "replicas", 1),
        "api.apps.v1.StatefulSetSpec" => stateful_set,
        "api.apps.v1.DaemonSetSpec" => daemon_set,
        "api.batch.v1.Job" => job,
        "api.batch.v1.CronJobSpec" => cron_job,
        "api.batch.v1.PodFailurePolicyOnPodConditionsPattern" => |pattern| set_default_str(pattern, "status", "True"),
        _ => return None,
    })
}

/// The strategy at `name` as an object with its type, `RollingUpdate` unless set.
fn strategy<'a>(spec: &'a mut Map<String, Value>, name: &str) -> (&'a mut Map<String, Value>, bool) {
    let strategy = as_object(spec.entry(name).or_insert(Value::Null));
    set_default_str(strategy, "type", "RollingUpdate");
    let is_rolling = strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate");
    (strategy, is_rolling)
}

fn rolling_update(strategy: &mut Map<String, Value>) -> &mut Map<String, Value> {
    as_object(strategy.entry("rollingUpdate").or_insert(Value::Null))
}

fn deployment(spec: &mut Map<String, Value>) {
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    let (strategy, is_rolling) = strategy(spec, "strategy");
    if is_rolling {
        let rolling = rolling_update(strategy);
        set_default(rolling, "maxUnavailable", "25%");
        set_default(rolling, "maxSurge", "25%");
    }
}

fn daemon_set(spec: &mut Map<String, Value>) {
    set_default(spec, "revisionHistoryLimit", 10);
    let (strategy, is_rolling) = strategy(spec, "updateStrategy");
    if is_rolling {
        let rolling = rolling_update(strategy);
        set_default(rolling, "maxUnavailable", 1);
        set_default(rolling, "maxSurge", 0);
    }
}

fn stateful_set(spec: &mut Map<String, Value>) {
    set_default_str(spec, "podManagementPolicy", "OrderedReady");
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    let has_type = spec.get("updateStrategy").is_some_and(|strategy| !is_absent(strategy.get("type")));
    let (strategy, is_rolling) = strategy(spec, "updateStrategy");
    let has_rolling = !is_absent(strategy.get("rollingUpdate"));
    if is_rolling && (has_rolling || !has_type) {
        let rolling = rolling_update(strategy);
        set_default(rolling, "partition", 0);
        set_default(rolling, "maxUnavailable", 1);
    }
    let retention = as_object(spec.entry("persistentVolumeClaimRetentionPolicy").or_insert(Value::Null));
    set_default_str(retention, "whenDeleted", "Retain");
    set_default_str(retention, "whenScaled", "Retain");
}

fn job(job: &mut Map<String, Value>) {
    let labels = job.get("spec").map(|spec| spec["template"]["metadata"]["labels"].clone());
    if let Some(labels @ Value::Object(_)) = labels {
        let metadata = as_object(job.entry("metadata").or_insert(Value::Null));
        set_default(metadata, "labels", labels);
    }
    let spec = as_object(job.entry("spec").or_insert(Value::Null));
    if is_absent(spec.get("completions")) && is_absent(spec.get("parallelism")) {
        spec.insert("completions".to_owned(), Value::from(1));
    }
    set_default(spec, "parallelism", 1);
    let is_per_index = !is_absent(spec.get("backoffLimitPerIndex"));
    set_default(spec, "backoffLimit", if is_per_index { i32::MAX } else { 6 });
    set_default(spec, "completionMode", "NonIndexed");
    set_default(spec, "suspend", false);
    let has_policy = !is_absent(spec.get("podFailurePolicy"));
    set_default(spec, "podReplacementPolicy", if has_policy { "Failed" } else { "TerminatingOrFailed" });
    set_default(spec, "manualSelector", false);
}

fn cron_job(spec: &mut Map<String, Value>) {
    set_default_str(spec, "concurrencyPolicy", "Allow");
    set_default(spec, "suspend", json!(false));
    set_default(spec, "successfulJobsHistoryLimit", 3);
    set_default(spec, "failedJobsHistoryLimit", 1);
}
