//! Validation of environment variables and of references to fields, keys and resources.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, texts},
        resources::amount,
    },
    names,
    value::{at, list_at, str_at},
};

const ONE_SOURCE: &str = "may not have more than one field specified at a time";
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Checks `env` and `envFrom` of a container.
pub(super) fn validate(container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("env");
    for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
        let item = field.index(index);
        let name = str_at(variable, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&item.child("name"), ""));
        } else {
            texts(&item.child("name"), name, names::env_var_name(name), errors);
        }
        if at(variable, &["valueFrom"]).is_some() {
            validate_value_from(variable, &item.child("valueFrom"), errors);
        }
    }
    let field = path.child("envFrom");
    for (index, source) in list_at(container, &["envFrom"]).iter().enumerate() {
        validate_env_from(source, &field, index, errors);
    }
}

fn validate_value_from(variable: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let source = &variable["valueFrom"];
    let mut count = 0;
    for (name, reference) in crate::value::entries_at(source, &[]) {
        count += 1;
        let field = path.child(name);
        match name {
            "fieldRef" => validate_field_ref(reference, ENV_FIELDS, &field, errors),
            "resourceFieldRef" => validate_resource_ref(reference, false, &field, errors),
            "configMapKeyRef" | "secretKeyRef" => validate_key_ref(reference, &field, errors),
            _ => validate_file_ref(reference, &field, errors),
        }
    }
    let wrong = match count {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if !str_at(variable, &["value"]).is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => ONE_SOURCE,
    };
    errors.push(FieldError::invalid(path, "", wrong));
}

fn validate_env_from(source: &Value, list: &FieldPath<'_>, index: usize, errors: &mut Errors) {
    let item = list.index(index);
    let prefix = str_at(source, &["prefix"]);
    if !prefix.is_empty() {
        texts(&item.child("prefix"), prefix, names::env_var_name(prefix), errors);
    }
    let mut count = 0;
    for name in ["configMapRef", "secretRef"] {
        let Some(reference) = at(source, &[name]) else { continue };
        count += 1;
        let field = item.child(name);
        let target = str_at(reference, &["name"]);
        if target.is_empty() {
            errors.push(FieldError::required(&field.child("name"), ""));
        } else {
            texts(&field.child("name"), target, names::dns1123_subdomain(&names::as_name(target)), errors);
        }
    }
    match count {
        0 => errors.push(FieldError::invalid(list, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => errors.push(FieldError::invalid(list, "", ONE_SOURCE)),
    }
}

/// Checks a reference to a key of a ConfigMap or Secret.
fn validate_key_ref(reference: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let name = str_at(reference, &["name"]);
    texts(&path.child("name"), name, names::dns1123_subdomain(name), errors);
    let key = str_at(reference, &["key"]);
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("key"), ""));
    } else {
        texts(&path.child("key"), key, names::config_map_key(key), errors);
    }
}

fn validate_file_ref(reference: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for name in ["key", "volumeName", "path"] {
        let value = str_at(reference, &[name]);
        let field = path.child(name);
        match name {
            _ if value.is_empty() => errors.push(FieldError::required(&field, "")),
            "key" => texts(&field, value, names::env_var_name(value), errors),
            "volumeName" => texts(&field, value, names::dns1123_label(value), errors),
            _ => super::volumes::validate_no_backsteps(value, &field, errors),
        }
    }
}

/// Checks a reference to a field of the Pod, as a volume's file may name it.
pub(super) fn validate_volume_field_ref(reference: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_field_ref(reference, VOLUME_FIELDS, path, errors);
}

fn validate_field_ref(reference: &Value, fields: &[&str], path: &FieldPath<'_>, errors: &mut Errors) {
    let target = str_at(reference, &["fieldPath"]);
    if str_at(reference, &["apiVersion"]).is_empty() {
        errors.push(FieldError::required(&path.child("apiVersion"), ""));
        return;
    }
    if target.is_empty() {
        errors.push(FieldError::required(&path.child("fieldPath"), ""));
        return;
    }
    let subscript = target.strip_suffix("']").and_then(|head| head.split_once("['"));
    let known = [ENV_FIELDS, VOLUME_FIELDS].iter().any(|list| list.contains(&target))
        || matches!(target, "spec.restartPolicy" | "spec.schedulerName" | "status.phase" | "status.hostIPs");
    match subscript {
        Some(("metadata.annotations", key)) => {
            texts(path, key, names::qualified_name(&key.to_ascii_lowercase()), errors);
        }
        Some(("metadata.labels", key)) => texts(path, key, names::qualified_name(key), errors),
        None if fields.contains(&target) => {}
        None if known => errors.push(FieldError::not_supported(&path.child("fieldPath"), target, fields)),
        _ => {
            let text = format!("error converting fieldPath: field label not supported: {target}");
            errors.push(FieldError::invalid(&path.child("fieldPath"), target, &text));
        }
    }
}

/// Checks a reference to a container's resource; a volume's must name the container.
pub(super) fn validate_resource_ref(reference: &Value, is_volume: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let resource = str_at(reference, &["resource"]);
    let is_huge_page = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    if is_volume && str_at(reference, &["containerName"]).is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge_page {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    validate_divisor(reference, resource, path, errors);
}

fn validate_divisor(reference: &Value, resource: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let divisor = amount(&reference["divisor"]);
    let text = divisor.to_string();
    let (is_allowed, what) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (matches!(text.as_str(), "1" | "1m"), "cpu"),
        Some("memory") => (SIZES.contains(&text.as_str()), "memory"),
        Some("ephemeral-storage") => (SIZES.contains(&text.as_str()), "local ephemeral storage"),
        Some(name) if name.starts_with("hugepages-") => (SIZES.contains(&text.as_str()), "hugepages"),
        _ => return,
    };
    if is_allowed || divisor.is_zero() {
        return;
    }
    let values = if what == "cpu" { "1m and 1".to_owned() } else { SIZES.join(", ") };
    let text = format!("only divisor's values {values} are supported with the {what} resource");
    errors.push(FieldError::invalid(&path.child("divisor"), resource, &text));
}
