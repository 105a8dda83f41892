//! Pod: the kind with the most rules.
//!
//! - [`spec`] and its neighbours validate what may run;
//! - [`update`] says what may change afterwards, which is little;
//! - [`qos`] derives the quality of service from the resources;
//! - [`admission`] does what Kubernetes' built-in admission plug-ins do: the service account with its token volume,
//!   tolerations, priority, limit ranges.

mod admission;
mod container;
mod env;
mod probe;
mod qos;
mod security;
pub(in crate::kinds) mod spec;
mod update;
pub(in crate::kinds) mod volumes;
pub(in crate::kinds) mod warnings;

use std::collections::HashMap;

use serde_json::{Value, json};

pub(in crate::kinds) use probe::validate_port;

use super::{
    Admission, Denied, Generation, Rules, Strategy,
    check::{Errors, non_negative},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, child_mut, copy_field, i64_at, list_at, semantic_eq, str_at},
};

/// The Pod's strategy.
pub(super) struct Pod;

impl Strategy for Pod {
    fn rules(&self) -> Rules {
        Rules {
            has_status: true,
            first_status: r#"{"phase":"Pending"}"#,
            generation: Generation::Counts(&["spec"]),
            status_keeps: &["ownerReferences", "deletionTimestamp"],
        }
    }

    fn admit(&self, pod: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
        admission::admit(pod, admission)
    }

    fn prepare_create(&self, pod: &mut Value) {
        self.rules().create(pod);
        let class = qos::class(pod);
        as_object(child_mut(pod, "status")).insert("qosClass".to_owned(), Value::from(class));
        if !list_at(pod, &["spec", "schedulingGates"]).is_empty() {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
                "lastTransitionTime": pod["metadata"]["creationTimestamp"],
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            });
            as_object(child_mut(pod, "status")).insert("conditions".to_owned(), json!([condition]));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        match subresource {
            // The server's own change: a node, and the condition that says so.
            Some("binding") => {}
            Some("ephemeralcontainers") => update::keep_all_but(new, old, &["ephemeralContainers"]),
            Some("resize") => update::keep_all_but(new, old, &["containers", "initContainers"]),
            _ => self.rules().update(new, old, subresource),
        }
        if subresource == Some("status") && str_at(new, &["status", "qosClass"]).is_empty() {
            copy_field(child_mut(new, "status"), &old["status"], "qosClass");
        }
    }

    fn validate_create(&self, pod: &Value, errors: &mut Errors) {
        validate(pod, errors);
        let root = FieldPath::Root;
        let spec = root.child("spec");
        if !list_at(pod, &["spec", "ephemeralContainers"]).is_empty() {
            errors.push(FieldError::forbidden(&spec.child("ephemeralContainers"), "cannot be set on create"));
        }
        let is_bound = !str_at(pod, &["spec", "nodeName"]).is_empty();
        if is_bound && !list_at(pod, &["spec", "schedulingGates"]).is_empty() {
            let text = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden(&spec.child("nodeName"), text));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            None => {
                // What is not touched is not checked again: a status or a label never fails on an old spec.
                if !semantic_eq(&new["spec"], &old["spec"]) {
                    validate(new, errors);
                }
                update::validate(new, old, errors);
            }
            Some("status") => validate_status(new, old, errors),
            Some("resize") => {
                validate(new, errors);
                update::validate_resize(new, old, errors);
            }
            Some(_) => validate(new, errors),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let name = str_at(new, &["metadata", "name"]);
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let wrong = names::dns1123_label(name);
        if !wrong.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ));
        }
        warnings.extend(warnings::of(new, ""));
        warnings
    }

    fn deletion_grace_period_s(&self, pod: &Value, requested_s: Option<i64>) -> Option<i64> {
        let own_s = i64_at(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or_default();
        let is_over = matches!(str_at(pod, &["status", "phase"]), "Failed" | "Succeeded");
        let is_unscheduled = str_at(pod, &["spec", "nodeName"]).is_empty();
        Some(match requested_s.unwrap_or(own_s) {
            _ if is_over || is_unscheduled => 0,
            seconds if seconds < 0 => 1,
            seconds => seconds,
        })
    }
}

/// Checks a whole Pod but for its metadata.
fn validate(pod: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("spec");
    spec::validate(pod, &path, true, errors);
    let spec = &pod["spec"];
    if str_at(spec, &["serviceAccountName"]).is_empty() {
        for (volume, source) in volumes::token_sources(spec) {
            let list = path.child("volumes");
            let item = list.index(volume);
            let projected = item.child("projected");
            let sources = projected.child("sources");
            let text = "must not be specified when serviceAccountName is not set";
            errors.push(FieldError::forbidden(&sources.index(source).child("serviceAccountToken"), text));
        }
    }
    non_negative(spec, "terminationGracePeriodSeconds", &path, errors);
    for list in ["containers", "initContainers"] {
        let field = path.child(list);
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            let image = str_at(container, &["image"]);
            if image != image.trim() {
                let text = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(&field.index(index).child("image"), image, text));
            }
        }
    }
}

/// A container that ended for good does not come back.
fn validate_transitions(new: &Value, old: &Value, errors: &mut Errors) {
    let policy = str_at(new, &["spec", "restartPolicy"]);
    if policy == "Always" {
        return;
    }
    let root = FieldPath::Root;
    let status = root.child("status");
    let path = status.child("containerStatuses");
    let statuses = list_at(new, &["status", "containerStatuses"]);
    let mut places = HashMap::new();
    for (index, status) in statuses.iter().enumerate() {
        places.entry(&status["name"]).or_insert((index, status));
    }
    for before in list_at(old, &["status", "containerStatuses"]) {
        let Some(end) = at(before, &["state", "terminated"]) else { continue };
        if policy == "OnFailure" && i64_at(end, &["exitCode"]).unwrap_or_default() != 0 {
            continue;
        }
        if let Some((index, status)) = places.get(&before["name"])
            && at(status, &["state", "terminated"]).is_none()
        {
            let text = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(*index).child("state"), text));
        }
    }
}

fn validate_status(new: &Value, old: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("status");
    if new["status"]["qosClass"] != old["status"]["qosClass"] {
        let value = &new["status"]["qosClass"];
        errors.push(FieldError::invalid(&path.child("qosClass"), value, super::metadata::IMMUTABLE));
    }
    validate_transitions(new, old, errors);
    let node = str_at(new, &["status", "nominatedNodeName"]);
    if !node.is_empty() {
        super::check::texts(&path.child("nominatedNodeName"), node, names::dns1123_subdomain(node), errors);
    }
    let ips = list_at(new, &["status", "podIPs"]);
    let field = path.child("podIPs");
    for (index, ip) in ips.iter().enumerate() {
        spec::validate_ip(str_at(ip, &["ip"]), &field.index(index), errors);
    }
    let is_ipv6 = |ip: &&Value| str_at(ip, &["ip"]).contains(':');
    let sixes = ips.iter().filter(is_ipv6).count();
    if sixes > 1 || ips.len() - sixes > 1 {
        let text = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&field, &new["status"]["podIPs"], text));
    }
    let conditions = path.child("conditions");
    for (index, condition) in list_at(new, &["status", "conditions"]).iter().enumerate() {
        let kind = str_at(condition, &["type"]);
        if at(condition, &["type"]).is_none() || kind.is_empty() {
            errors.push(FieldError::required(&conditions.index(index).child("type"), ""));
        } else {
            let item = conditions.index(index);
            super::check::texts(&item.child("Type"), kind, names::qualified_name(kind), errors);
        }
    }
}
