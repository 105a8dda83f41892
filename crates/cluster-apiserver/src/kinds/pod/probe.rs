//! Validation of probes and lifecycle hooks.

use serde_json::Value;

use super::spec::Scope;
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::check::{Errors, non_negative, port, supported_value, texts},
    names,
    value::{at, i64_at, list_at, str_at},
};

/// Checks `lifecycle` and the three probes of a container.
pub(super) fn validate_all(scope: &Scope<'_>, container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let lifecycle = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(handler) = at(container, &["lifecycle", name]) {
            validate_handler(handler, scope, &lifecycle.child(name), errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = at(container, &[name]) else { continue };
        let field = path.child(name);
        validate(probe, scope, &field, errors);
        if name == "readinessProbe" {
            if let Some(value) = at(probe, &["terminationGracePeriodSeconds"]) {
                let text = "must not be set for readinessProbes";
                errors.push(FieldError::invalid(&field.child("terminationGracePeriodSeconds"), value, text));
            }
            continue;
        }
        let threshold = i64_at(probe, &["successThreshold"]).unwrap_or_default();
        if threshold != 1 {
            errors.push(FieldError::invalid(&field.child("successThreshold"), threshold, "must be 1"));
        }
    }
}

fn validate(probe: &Value, scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_handler(probe, scope, path, errors);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(probe, name, path, errors);
    }
    crate::kinds::check::positive(probe, "terminationGracePeriodSeconds", path, errors);
}

fn validate_handler(handler: &Value, scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut has_one = false;
    for name in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = at(handler, &[name]) else { continue };
        let field = path.child(name);
        if has_one {
            errors.push(FieldError::forbidden(&field, "may not specify more than 1 handler type"));
            continue;
        }
        has_one = true;
        match name {
            "exec" if list_at(action, &["command"]).is_empty() => {
                errors.push(FieldError::required(&field.child("command"), ""));
            }
            "httpGet" => validate_http_get(action, &field, errors),
            "tcpSocket" | "grpc" => validate_port(&action["port"], &field.child("port"), errors),
            "sleep" => validate_sleep(action, scope, &field, errors),
            _ => {}
        }
    }
    if !has_one {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn validate_http_get(action: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if str_at(action, &["path"]).is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    }
    validate_port(&action["port"], &path.child("port"), errors);
    supported_value(str_at(action, &["scheme"]), &["HTTP", "HTTPS"], &path.child("scheme"), errors);
    for header in list_at(action, &["httpHeaders"]) {
        let name = str_at(header, &["name"]);
        texts(&path.child("httpHeaders"), name, names::http_header_name(name), errors);
    }
}

/// Checks a port that is a number or the name of one.
pub(in crate::kinds) fn validate_port(value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match value.as_str() {
        Some(name) => texts(path, name, names::port_name(name), errors),
        None => port(value.as_i64().unwrap_or_default(), path, errors),
    }
}

fn validate_sleep(action: &Value, scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let seconds = i64_at(action, &["seconds"]).unwrap_or_default();
    if let Some(grace_s) = scope.grace_period_s().filter(|grace_s| seconds < 0 || seconds > *grace_s) {
        let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_s})");
        errors.push(FieldError::invalid(path, seconds, &text));
    }
}
