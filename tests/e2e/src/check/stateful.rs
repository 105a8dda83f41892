//! StatefulSets with claims, and a DaemonSet, by an unmodified kubectl: what is kept is kept over Pods, crashes and restarts of Kwick.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::sessions;
use crate::instance::{Instance, ensure};
use crate::kubectl;
use crate::place::{self, Place};
use crate::until::until_true;

/// How long anything may take; it only decides how long a failure takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes who it is where nobody has yet.
const PROGRAM: &str = "[ -e /data/name ] || hostname > /data/name; sleep 100000 & wait";

/// Comes up in order, keeps its data, is rolled, goes down.
pub(super) fn keeps_data(place: &Place) -> Result<String> {
    let kwick = Instance::start_with(place, "stateful", &["--only", "cluster"])?;
    sessions::pack_shell(&kwick)?;
    kubectl::apply(&kwick, &web())?;
    comes_up(&kwick)?;
    kept_over_ends(&kwick)?;
    rolled(&kwick)?;
    goes_down(&kwick)?;
    daemon(&kwick)?;
    kwick.down()?;
    Ok("3 Pods in order, data kept over a Pod, kill -9, down and up; partition, undo, scale; a DaemonSet".to_owned())
}

fn pod_template(name: &str, program: &str, mounts: Value) -> Value {
    let container = json!({
        "name": "c", "image": "shell", "imagePullPolicy": "IfNotPresent", "args": ["-c", program], "volumeMounts": mounts,
    });
    json!({
        "metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    })
}

fn web() -> Value {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {
        "replicas": 3, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
        "template": pod_template("web", PROGRAM, json!([{"name": "data", "mountPath": "/data"}])),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}],
    }});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}],
    }});
    json!({"apiVersion": "v1", "kind": "List", "items": [service, set]})
}

fn rolled_out(kwick: &Instance<'_>, what: &str) -> Result<()> {
    kubectl::run(kwick, &["rollout", "status", what, "--timeout=60s"]).map(drop)
}

fn holds(kwick: &Instance<'_>, pod: &str, file: &str, expected: &str) -> Result<()> {
    kubectl::shows(kwick, &["exec", pod, "--", "/busybox", "cat", &format!("/data/{file}")], &[expected])
}

fn comes_up(kwick: &Instance<'_>) -> Result<()> {
    rolled_out(kwick, "statefulset/web")?;
    let times = kubectl::run(kwick, &["get", "pods", "-l", "app=web", "-o", "json"])?;
    let pods: Value = serde_json::from_str(&times)?;
    let mut before = String::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
        ensure(created >= before.as_str(), || {
            format!("{} was made before its predecessor was ready", pod["metadata"])
        })?;
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready =
            conditions.filter(|condition| condition["type"] == "Ready").map(|ready| &ready["lastTransitionTime"]);
        before = ready.filter_map(Value::as_str).collect();
    }
    kubectl::shows(
        kwick,
        &["get", "storageclass"],
        &["standard (default)", "local.kwick.dev", "WaitForFirstConsumer"],
    )?;
    kubectl::shows(
        kwick,
        &["get", "pvc"],
        &["data-web-0", "data-web-1", "data-web-2", "Bound", "1Gi", "RWO", "standard"],
    )?;
    kubectl::shows(kwick, &["get", "pv"], &["pvc-", "Delete", "Bound", "default/data-web-2"])?;
    kubectl::shows(kwick, &["get", "statefulset"], &["web", "3/3"])?;
    kubectl::shows(kwick, &["describe", "pvc", "data-web-0"], &["ProvisioningSucceeded", "Used By:", "web-0"])?;
    let ip = kubectl::run(kwick, &["get", "pod", "web-2", "-o", "jsonpath={.status.podIP}"])?;
    let name = "web-2.web.default.svc.cluster.local";
    kubectl::shows(kwick, &["exec", "web-0", "--", "/busybox", "nslookup", name], &[&ip])?;
    holds(kwick, "web-1", "name", "web-1")
}

fn kept_over_ends(kwick: &Instance<'_>) -> Result<()> {
    let mark = |pod: &str, text: &str| {
        let write = format!("echo {text} > /data/mark");
        kubectl::run(kwick, &["exec", pod, "--", "/bin/sh", "-c", &write]).map(drop)
    };
    mark("web-1", "over-a-pod")?;
    kubectl::run(kwick, &["delete", "pod", "web-1"])?;
    rolled_out(kwick, "statefulset/web")?;
    kubectl::run(kwick, &["wait", "pod/web-1", "--for=condition=Ready", "--timeout=60s"])?;
    holds(kwick, "web-1", "mark", "over-a-pod")?;
    mark("web-1", "over-a-kill")?;
    kwick.signal(Signal::SIGKILL)?;
    kwick.up_again()?;
    holds(kwick, "web-1", "mark", "over-a-kill")?;
    mark("web-1", "over-an-end")?;
    place::output(&mut kwick.kwick(&["down"]))?;
    kwick.up_again()?;
    until_true("the Pods after the restart", PATIENCE, || Ok(holds(kwick, "web-1", "mark", "over-an-end").is_ok()))?;
    rolled_out(kwick, "statefulset/web")
}

/// The values of the variable by which templates are told apart.
fn versions(kwick: &Instance<'_>) -> Result<String> {
    kubectl::run(kwick, &["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.annotations.version}"])
}

fn rolled(kwick: &Instance<'_>) -> Result<()> {
    let patch = |patch: Value| kubectl::run(kwick, &["patch", "statefulset", "web", "-p", &patch.to_string()]);
    let partition = |from: u32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": from}});
    patch(json!({"spec": {
        "updateStrategy": partition(2), "template": {"metadata": {"annotations": {"version": "two"}}},
    }}))?;
    kubectl::shows(
        kwick,
        &["rollout", "status", "statefulset/web", "--timeout=60s"],
        &["partitioned roll out complete"],
    )?;
    ensure(versions(kwick)?.trim() == "two", || "more than web-2 was rolled".to_owned())?;
    kubectl::shows(kwick, &["get", "pod", "web-2", "-o", "jsonpath={.metadata.annotations}"], &["two"])?;
    patch(json!({"spec": {"updateStrategy": partition(0)}}))?;
    rolled_out(kwick, "statefulset/web")?;
    ensure(versions(kwick)? == "two two two", || "not every Pod was rolled".to_owned())?;
    kubectl::shows(kwick, &["rollout", "history", "statefulset/web"], &["REVISION", "1 ", "2 "])?;
    kubectl::run(kwick, &["rollout", "undo", "statefulset/web"])?;
    rolled_out(kwick, "statefulset/web")?;
    ensure(versions(kwick)?.trim().is_empty(), || "the template is not the one before".to_owned())?;
    holds(kwick, "web-1", "mark", "over-an-end")
}

fn goes_down(kwick: &Instance<'_>) -> Result<()> {
    kubectl::run(kwick, &["scale", "statefulset/web", "--replicas=1"])?;
    let pods = || kubectl::run(kwick, &["get", "pods", "-l", "app=web", "-o", "name"]);
    until_true("one Pod to be left", PATIENCE, || Ok(pods()?.trim() == "pod/web-0"))?;
    kubectl::shows(kwick, &["get", "pvc"], &["data-web-0", "data-web-1", "data-web-2"])?;
    kubectl::run(kwick, &["scale", "statefulset/web", "--replicas=2"])?;
    rolled_out(kwick, "statefulset/web")?;
    holds(kwick, "web-1", "mark", "over-an-end")?;
    kubectl::run(kwick, &["delete", "statefulset,service", "web"])?;
    kubectl::run(kwick, &["delete", "pvc", "--all"])?;
    until_true("the volumes to go", PATIENCE, || Ok(kubectl::run(kwick, &["get", "pv", "-o", "name"])?.is_empty()))?;
    let storage = kwick.folder().join("storage");
    until_true("their content to go", PATIENCE, || Ok(fs::read_dir(&storage)?.next().is_none()))
}

fn daemon(kwick: &Instance<'_>) -> Result<()> {
    let template = pod_template("log", "sleep 100000 & wait", json!([]));
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "log"}, "spec": {
        "selector": {"matchLabels": {"app": "log"}}, "template": template,
    }});
    kubectl::apply(kwick, &set)?;
    kubectl::shows(kwick, &["rollout", "status", "daemonset/log", "--timeout=60s"], &["successfully rolled out"])?;
    kubectl::shows(kwick, &["get", "daemonset"], &["log    1         1         1       1            1"])?;
    kubectl::run(kwick, &["rollout", "restart", "daemonset/log"])?;
    rolled_out(kwick, "daemonset/log")?;
    kubectl::shows(kwick, &["rollout", "history", "daemonset/log"], &["1 ", "2 "])?;
    kubectl::run(kwick, &["rollout", "undo", "daemonset/log"])?;
    rolled_out(kwick, "daemonset/log")?;
    kubectl::run(kwick, &["delete", "daemonset", "log"]).map(drop)
}
