//! Validation of update strategies.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, non_negative},
        internal,
    },
    names,
    value::{at, str_at},
};

/// Checks an integer or a percentage that is not negative.
pub(in crate::kinds) fn validate_amount(value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match value {
        Value::String(text) => {
            if let Some(wrong) = names::percent(text) {
                errors.push(FieldError::invalid(path, text, &wrong));
            }
        }
        other => {
            let number = other.as_i64().unwrap_or_default();
            if number < 0 {
                errors.push(FieldError::invalid(path, number, names::NEGATIVE));
            }
        }
    }
}

/// The number of an integer or percentage.
fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.trim_end_matches('%').parse().unwrap_or_default(),
        other => other.as_i64().unwrap_or_default(),
    }
}

/// Checks that a percentage is at most a hundred.
pub(in crate::kinds) fn validate_share(value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Value::String(text) = value
        && names::percent(text).is_none()
        && number(value) > 100
    {
        errors.push(FieldError::invalid(path, text, "must not be greater than 100%"));
    }
}

pub(super) fn validate_deployment(strategy: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let rolling = at(strategy, &["rollingUpdate"]);
    let field = path.child("rollingUpdate");
    match str_at(strategy, &["type"]) {
        "Recreate" if rolling.is_some() => {
            let text = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&field, text));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let rolling = rolling.unwrap_or(&Value::Null);
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            validate_amount(unavailable, &field.child("maxUnavailable"), errors);
            validate_amount(surge, &field.child("maxSurge"), errors);
            if number(unavailable) == 0 && number(surge) == 0 {
                let text = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&field.child("maxUnavailable"), unavailable, text));
            }
            validate_share(unavailable, &field.child("maxUnavailable"), errors);
        }
        _ => {
            let shown = internal::shown("io.k8s.api.apps.v1.DeploymentStrategy", strategy);
            errors.push(FieldError::not_supported(path, &shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

pub(super) fn validate_stateful_set(strategy: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let rolling = at(strategy, &["rollingUpdate"]);
    let field = path.child("rollingUpdate");
    match (str_at(strategy, &["type"]), rolling) {
        ("OnDelete", Some(rolling)) => {
            let text = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(&field, rolling, text));
        }
        ("RollingUpdate", Some(rolling)) => {
            non_negative(rolling, "partition", &field, errors);
            if let Some(unavailable) = at(rolling, &["maxUnavailable"]) {
                let place = field.child("maxUnavailable");
                validate_amount(unavailable, &place, errors);
                if number(unavailable) == 0 {
                    errors.push(FieldError::invalid(&place, unavailable, "cannot be 0"));
                }
                validate_share(unavailable, &place, errors);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let text = "must be 'RollingUpdate' or 'OnDelete'";
            let shown = internal::shown("io.k8s.api.apps.v1.StatefulSetUpdateStrategy", strategy);
            errors.push(FieldError::invalid(path, &shown, text));
        }
    }
}

pub(super) fn validate_daemon_set(strategy: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let rolling = at(strategy, &["rollingUpdate"]);
    let field = path.child("rollingUpdate");
    match (str_at(strategy, &["type"]), rolling) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(FieldError::required(&field, "")),
        ("RollingUpdate", Some(rolling)) => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let place = field.child("maxUnavailable");
            validate_amount(unavailable, &place, errors);
            validate_amount(surge, &field.child("maxSurge"), errors);
            match (number(unavailable) != 0, number(surge) != 0) {
                (true, true) => {
                    let text = "may not be set when maxUnavailable is non-zero";
                    errors.push(FieldError::invalid(&field.child("maxSurge"), surge, text));
                }
                (false, false) => errors.push(FieldError::required(&place, "cannot be 0 when maxSurge is 0")),
                _ => {}
            }
            validate_share(unavailable, &place, errors);
            validate_share(surge, &field.child("maxSurge"), errors);
        }
        _ => {
            let shown = internal::shown("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", strategy);
            errors.push(FieldError::not_supported(path, &shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}
