//! What Pods use, and what grows with it, with an unmodified kubectl: `top`, `autoscale`, `get hpa`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::sessions;
use crate::instance::Instance;
use crate::ksvc::{self, Ksvc};
use crate::kubectl;
use crate::until::until_true;

/// A container's usage is known after some seconds, and autoscalers look every 15 s.
const PATIENCE: Duration = Duration::from_secs(150);

/// One Pod uses twice what it asks for, and is to use half of it.
pub(super) fn by_usage(kwick: &Instance<'_>) -> Result<String> {
    sessions::pack_shell(kwick)?;
    let labels = json!({"app": "burner"});
    let container = json!({
        "name": "c", "image": "shell", "imagePullPolicy": "IfNotPresent", "args": ["-c", "while true; do :; done"],
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}},
    });
    kubectl::apply(
        kwick,
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burner"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            }},
        }),
    )?;
    let autoscale = ["autoscale", "deployment", "burner", "--cpu=50%", "--min=1", "--max=3"];
    kubectl::shows(kwick, &autoscale, &["horizontalpodautoscaler.autoscaling/burner autoscaled"])?;
    let ready = ["get", "deployment", "burner", "-o", "jsonpath={.status.readyReplicas}"];
    until_true("three Pods", PATIENCE, || Ok(kubectl::run(kwick, &ready)? == "3"))?;
    let columns = ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"];
    kubectl::shows(kwick, &["get", "hpa"], &columns)?;
    kubectl::shows(
        kwick,
        &["get", "hpa", "burner"],
        &["Deployment/burner", "cpu: ", "%/50%", "   1         3         "],
    )?;
    let told = [
        "Normal",
        "SuccessfulRescale",
        "New size: 3; reason: cpu resource utilization (percentage of request) above target",
    ];
    kubectl::shows(kwick, &["describe", "hpa", "burner"], &told)?;
    kubectl::shows(
        kwick,
        &["top", "pod", "-l", "app=burner"],
        &["NAME", "CPU(cores)", "MEMORY(bytes)", "burner-", "m "],
    )?;
    kubectl::shows(kwick, &["top", "pod", "-l", "app=burner", "--containers"], &["POD", "burner-", "   c   "])?;
    kubectl::shows(kwick, &["top", "node"], &["CPU(%)", "MEMORY(%)", "%"])?;
    kubectl::run(kwick, &["delete", "deployment,hpa", "burner", "--wait=false"])?;
    Ok("a busy Pod became three".to_owned())
}

/// A Service of Knative's class HPA: the cluster's own autoscaler gives it its least Pods, and goes with it.
pub(super) fn class(kwick: &Instance<'_>) -> Result<String> {
    let service = Ksvc::hello("by-usage").scale("class", "hpa.autoscaling.knative.dev").scale("window", "10s");
    service.scale("min-scale", "2").scale("max-scale", "3").deploy(&kwick.api)?;
    ksvc::at_scale(&kwick.api, "by-usage", 2)?;
    let row = ["Deployment/by-usage-00001-deployment", "cpu: ", "/80%", "   2         3         2 "];
    kubectl::shows(kwick, &["get", "hpa", "by-usage-00001"], &row)?;
    kubectl::shows(kwick, &["get", "sks", "by-usage-00001"], &["Serve"])?;
    kubectl::run(kwick, &["delete", "ksvc", "by-usage"])?;
    let left = ["get", "hpa", "--ignore-not-found", "by-usage-00001"];
    until_true("the autoscaler to go", PATIENCE, || Ok(kubectl::run(kwick, &left)?.is_empty()))?;
    Ok("its least Pods are two".to_owned())
}
