//! Validation of containers: regular, init and ephemeral ones.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{env, probe, security, spec::Scope, volumes};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, one_of, port, supported_value, texts},
        resources,
    },
    names,
    value::{at, i64_at, list_at, str_at},
};

const NOT_FOR_INIT: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_FOR_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];

/// Checks all containers of a spec.
pub(super) fn validate(scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let regular = list_at(scope.spec, &["containers"]);
    let init = list_at(scope.spec, &["initContainers"]);
    validate_regular(scope, regular, &path.child("containers"), errors);
    validate_init(scope, regular, init, &path.child("initContainers"), errors);
    validate_ephemeral(scope, &path.child("ephemeralContainers"), errors);
}

fn validate_regular(scope: &Scope<'_>, list: &[Value], path: &FieldPath<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, container) in list.iter().enumerate() {
        let item = path.index(index);
        validate_common(scope, container, &item, errors);
        let name = str_at(container, &["name"]);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        probe::validate_all(scope, container, &item, errors);
        if let Some(policy) = at(container, &["restartPolicy"]).and_then(Value::as_str) {
            supported_value(policy, RESTART_POLICIES, &item.child("restartPolicy"), errors);
        } else if !list_at(container, &["restartPolicyRules"]).is_empty() {
            let text = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&item.child("restartPolicy"), text));
        }
    }
    validate_host_ports(list, path, errors);
}

fn validate_init(scope: &Scope<'_>, regular: &[Value], list: &[Value], path: &FieldPath<'_>, errors: &mut Errors) {
    let mut seen: BTreeSet<&str> = regular.iter().map(|container| str_at(container, &["name"])).collect();
    for (index, container) in list.iter().enumerate() {
        let item = path.index(index);
        validate_common(scope, container, &item, errors);
        let policy = at(container, &["restartPolicy"]).and_then(Value::as_str);
        if let Some(policy) = policy {
            supported_value(policy, RESTART_POLICIES, &item.child("restartPolicy"), errors);
        }
        let name = str_at(container, &["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        validate_host_ports(std::slice::from_ref(container), path, errors);
        if policy == Some("Always") {
            probe::validate_all(scope, container, &item, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if at(container, &[field]).is_some() {
                errors.push(FieldError::forbidden(&item.child(field), NOT_FOR_INIT));
            }
        }
    }
}

fn validate_ephemeral(scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| list_at(scope.spec, &[list]))
        .map(|container| str_at(container, &["name"]))
        .collect();
    let mut seen = others.clone();
    for (index, container) in list_at(scope.spec, &["ephemeralContainers"]).iter().enumerate() {
        let item = path.index(index);
        validate_common(scope, container, &item, errors);
        let name = str_at(container, &["name"]);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        let target = str_at(container, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(&target) {
            errors.push(FieldError::not_found(&item.child("targetContainerName"), target));
        }
        for field in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            if at(container, &[field]).is_some_and(|value| !is_nothing(value)) {
                errors.push(FieldError::forbidden(&item.child(field), NOT_FOR_EPHEMERAL));
            }
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        other => other.is_null(),
    }
}

/// What holds for containers of every sort.
fn validate_common(scope: &Scope<'_>, container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let name = str_at(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        texts(&path.child("name"), name, names::dns1123_label(name), errors);
    }
    let image = str_at(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    }
    one_of(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], path, errors);
    validate_ports(container, &path.child("ports"), errors);
    env::validate(container, path, errors);
    volumes::validate_mounts(scope, container, path, errors);
    one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, errors);
    resources::validate_requirements(&container["resources"], &scope.claims, &path.child("resources"), errors);
    validate_resize_policy(scope, container, &path.child("resizePolicy"), errors);
    security::validate_container(scope, &container["securityContext"], &path.child("securityContext"), errors);
}

fn validate_ports(container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, item) in list_at(container, &["ports"]).iter().enumerate() {
        let place = path.index(index);
        let name = str_at(item, &["name"]);
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&place.child("name"), name));
            }
            texts(&place.child("name"), name, wrong, errors);
        }
        match i64_at(item, &["containerPort"]).unwrap_or_default() {
            0 => errors.push(FieldError::required(&place.child("containerPort"), "")),
            number => port(number, &place.child("containerPort"), errors),
        }
        match i64_at(item, &["hostPort"]).unwrap_or_default() {
            0 => {}
            number => port(number, &place.child("hostPort"), errors),
        }
        one_of(item, "protocol", &["SCTP", "TCP", "UDP"], &place, errors);
    }
}

/// A port of the host is taken once.
fn validate_host_ports(list: &[Value], path: &FieldPath<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, container) in list.iter().enumerate() {
        let item = path.index(index);
        let ports = item.child("ports");
        for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
            let number = i64_at(port, &["hostPort"]).unwrap_or_default();
            let key = format!("{}/{}/{number}", str_at(port, &["protocol"]), str_at(port, &["hostIP"]));
            if number != 0 && !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(&ports.index(index).child("hostPort"), &key));
            }
        }
    }
}

fn validate_resize_policy(scope: &Scope<'_>, container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let is_never = str_at(scope.spec, &["restartPolicy"]) == "Never";
    for policy in list_at(container, &["resizePolicy"]) {
        let name = str_at(policy, &["resourceName"]);
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            supported_value(name, &["cpu", "memory"], path, errors);
        }
        let restart = str_at(policy, &["restartPolicy"]);
        if restart.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else {
            supported_value(restart, &["NotRequired", "RestartContainer"], path, errors);
        }
        if is_never && restart != "NotRequired" {
            let text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, restart, text));
        }
    }
}
