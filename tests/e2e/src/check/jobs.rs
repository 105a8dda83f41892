//! What runs to its end, and what may be interrupted: Jobs, CronJobs, and a drain that a PodDisruptionBudget holds back, with an unmodified
//! kubectl.

use std::process::Output;

use anyhow::Result;
use serde_json::{Value, json};

use super::sessions;
use crate::instance::{Instance, ensure};
use crate::kubectl;
use crate::place;

const WAIT: &str = "--timeout=90s";

/// Jobs that end well and badly, with indexes, by a CronJob; and a drain.
pub(super) fn script(kwick: &Instance<'_>) -> Result<String> {
    sessions::pack_shell(kwick)?;
    ends(kwick)?;
    indexes(kwick)?;
    by_cron_job(kwick)?;
    drain(kwick)?;
    kubectl::run(kwick, &["delete", "job,cronjob,deployment,pdb", "--selector=check=jobs", WAIT])?;
    Ok("4 Jobs, one from a CronJob, and a drain that waited".to_owned())
}

/// Containers that run a line of shell.
fn pod(restart: &str, line: &str) -> Value {
    let container = json!({
        "name": "c", "image": "shell", "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", line],
    });
    json!({"restartPolicy": restart, "terminationGracePeriodSeconds": 1, "containers": [container]})
}

fn job(name: &str, spec: &Value, pod: &Value) -> Value {
    let mut spec = spec.clone();
    spec["template"] = json!({ "spec": pod });
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(name), "spec": spec})
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"check": "jobs"}})
}

fn ends(kwick: &Instance<'_>) -> Result<()> {
    let spec = json!({"completions": 3, "parallelism": 2});
    kubectl::apply(kwick, &job("done", &spec, &pod("Never", "echo done")))?;
    kubectl::apply(kwick, &job("broken", &json!({"backoffLimit": 0}), &pod("Never", "exit 3")))?;
    kubectl::apply(kwick, &job("restarted", &json!({"backoffLimit": 1}), &pod("OnFailure", "exit 4")))?;
    kubectl::run(kwick, &["wait", "job/done", "--for=condition=Complete", WAIT])?;
    kubectl::shows(kwick, &["get", "job", "done", "-o", "jsonpath={.status.succeeded} {.status.ready}"], &["3 0"])?;
    kubectl::shows(kwick, &["get", "jobs", "done", "--no-headers"], &["done   Complete   3/3"])?;
    kubectl::shows(kwick, &["logs", "job/done"], &["done"])?;
    let reason = "jsonpath={.status.failed} {.status.conditions[?(@.type=='Failed')].reason}";
    for name in ["broken", "restarted"] {
        kubectl::run(kwick, &["wait", &format!("job/{name}"), "--for=condition=Failed", WAIT])?;
        kubectl::shows(kwick, &["get", "job", name, "-o", reason], &["1 BackoffLimitExceeded"])?;
    }
    kubectl::shows(kwick, &["describe", "job", "broken"], &["BackoffLimitExceeded"])
}

fn indexes(kwick: &Instance<'_>) -> Result<()> {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    let line = "echo index $JOB_COMPLETION_INDEX; /busybox hostname";
    kubectl::apply(kwick, &job("indexed", &spec, &pod("Never", line)))?;
    kubectl::run(kwick, &["wait", "job/indexed", "--for=condition=Complete", WAIT])?;
    kubectl::shows(kwick, &["get", "job", "indexed", "-o", "jsonpath={.status.completedIndexes}"], &["0-2"])?;
    let logs = ["logs", "--selector=batch.kubernetes.io/job-name=indexed,batch.kubernetes.io/job-completion-index=1"];
    kubectl::shows(kwick, &logs, &["index 1\nindexed-1"])
}

/// The schedule itself would take a minute.
fn by_cron_job(kwick: &Instance<'_>) -> Result<()> {
    let template = json!({"spec": {"template": {"spec": pod("Never", "echo tick")}}});
    let spec = json!({"schedule": "@hourly", "timeZone": "Europe/Berlin", "jobTemplate": template});
    kubectl::apply(
        kwick,
        &json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata("tick"), "spec": spec}),
    )?;
    kubectl::run(kwick, &["create", "job", "now", "--from=cronjob/tick"])?;
    kubectl::run(kwick, &["wait", "job/now", "--for=condition=Complete", WAIT])?;
    kubectl::shows(kwick, &["get", "job", "now", "-o", "jsonpath={.metadata.ownerReferences[0].kind}"], &["CronJob"])?;
    let succeeded = ["wait", "cronjob/tick", "--for=jsonpath={.status.lastSuccessfulTime}", WAIT];
    kubectl::run(kwick, &succeeded).map(drop)
}

/// One of two may go; the other may once nobody minds.
fn drain(kwick: &Instance<'_>) -> Result<()> {
    let labels = json!({"app": "guarded"});
    let selector = json!({ "matchLabels": labels });
    let template = json!({"metadata": {"labels": labels}, "spec": pod("Always", "/busybox sleep 100000")});
    let deployment = json!({"replicas": 2, "selector": selector, "template": template});
    let budget = json!({"minAvailable": 1, "selector": selector});
    let objects = [("apps/v1", "Deployment", deployment), ("policy/v1", "PodDisruptionBudget", budget)];
    for (version, kind, spec) in objects {
        kubectl::apply(
            kwick,
            &json!({"apiVersion": version, "kind": kind, "metadata": metadata("guarded"), "spec": spec}),
        )?;
    }
    kubectl::run(kwick, &["rollout", "status", "deployment/guarded", WAIT])?;
    kubectl::run(kwick, &["wait", "pdb/guarded", "--for=jsonpath={.status.disruptionsAllowed}=1", WAIT])?;
    let node = kubectl::run(kwick, &["get", "nodes", "-o", "name"])?;
    let node = node.trim();
    let outcome = held_back(kwick, node);
    // Others need the node.
    kubectl::run(kwick, &["uncordon", node])?;
    outcome?;
    kubectl::run(kwick, &["rollout", "status", "deployment/guarded", WAIT]).map(drop)
}

fn held_back(kwick: &Instance<'_>, node: &str) -> Result<()> {
    let held = drained(kwick, node, "10s")?;
    let said = place::text(&held);
    let is_held = said.contains("Cannot evict pod as it would violate the pod's disruption budget.");
    ensure(!held.status.success() && is_held, || format!("a drain that should wait: {said}"))?;
    kubectl::run(kwick, &["delete", "pdb", "guarded"])?;
    let free = drained(kwick, node, "60s")?;
    ensure(free.status.success(), || format!("a drain that nobody minds: {}", place::text(&free)))
}

fn drained(kwick: &Instance<'_>, node: &str, timeout: &str) -> Result<Output> {
    let timeout = format!("--timeout={timeout}");
    let args = ["drain", node, "--pod-selector=app=guarded", "--ignore-daemonsets", &timeout];
    place::outcome(&mut kubectl::command(kwick, &args)?)
}
