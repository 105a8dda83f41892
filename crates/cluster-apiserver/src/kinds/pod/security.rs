//! Validation of security contexts, of Pods and of containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{spec::Scope, volumes};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, supported_value},
        internal,
    },
    names,
    value::{at, bool_at, i64_at, list_at, str_at, strings_at},
};

const MAX_ID: i64 = i32::MAX as i64;
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn validate_ids(context: &Value, fields: &[&str], path: &FieldPath<'_>, errors: &mut Errors) {
    for name in fields {
        if let Some(id) = i64_at(context, &[name])
            && let Some(text) = names::in_range(id, 0, MAX_ID)
        {
            errors.push(FieldError::invalid(&path.child(name), id, &text));
        }
    }
}

/// Checks the security context of a spec, and what it forbids elsewhere in it.
pub(super) fn validate_pod(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let context = &spec["securityContext"];
    let field = path.child("securityContext");
    validate_ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &field, errors);
    let groups = field.child("supplementalGroups");
    for (index, group) in list_at(context, &["supplementalGroups"]).iter().filter_map(Value::as_i64).enumerate() {
        if let Some(text) = names::in_range(group, 0, MAX_ID) {
            errors.push(FieldError::invalid(&groups.index(index), group, &text));
        }
    }
    validate_sysctls(context, &field.child("sysctls"), errors);
    for (name, supported) in [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ] {
        if let Some(value) = at(context, &[name]).and_then(Value::as_str) {
            supported_value(value, supported, &field.child(name), errors);
        }
    }
    validate_profile(context, "seccompProfile", "seccomp", &field, errors);
    validate_profile(context, "appArmorProfile", "AppArmor", &field, errors);
    if bool_at(spec, &["shareProcessNamespace"]) == Some(true) && bool_at(spec, &["hostPID"]) == Some(true) {
        let text = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, text));
    }
}

fn validate_sysctls(context: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let list = list_at(context, &["sysctls"]);
    let mut seen = BTreeSet::new();
    for (index, sysctl) in list.iter().enumerate() {
        let field = path.index(index);
        let name = str_at(sysctl, &["name"]);
        let is_new = seen.insert(name);
        if name.is_empty() {
            errors.push(FieldError::required(&field.child("name"), ""));
        } else if !is_sysctl(name) {
            let text = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(&field.child("name"), name, text));
        } else if !is_new {
            errors.push(FieldError::duplicate(&field.child("name"), name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            is_end(part.bytes().next())
                && is_end(part.bytes().last())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        })
}

/// Checks a seccomp or AppArmor profile.
fn validate_profile(context: &Value, name: &str, what: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let Some(profile) = at(context, &[name]) else { return };
    let field = path.child(name);
    let kind = str_at(profile, &["type"]);
    if kind.is_empty() {
        let text = if what == "seccomp" {
            "type is required when seccompProfile is set"
        } else {
            "type is required when appArmorProfile is set"
        };
        errors.push(FieldError::required(&field.child("type"), text));
    } else {
        supported_value(kind, PROFILES, &field.child("type"), errors);
    }
    let place = field.child("localhostProfile");
    match (kind, at(profile, &["localhostProfile"]).and_then(Value::as_str)) {
        ("Localhost", None) => {
            let text = format!("must be set when {what} type is Localhost");
            errors.push(FieldError::required(&place, &text));
        }
        ("Localhost", Some(file)) if what == "seccomp" => volumes::validate_descending(file, &place, errors),
        ("Localhost", Some(_)) | (_, None) => {}
        (_, Some(file)) => {
            let text = format!("can only be set when {what} type is Localhost");
            let shown = if what == "seccomp" { profile.clone() } else { Value::from(file) };
            errors.push(FieldError::invalid(&place, &shown, &text));
        }
    }
}

/// Checks the security context of a container.
pub(super) fn validate_container(scope: &Scope<'_>, context: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if context.is_null() {
        return;
    }
    validate_ids(context, &["runAsUser", "runAsGroup"], path, errors);
    if let Some(mount) = at(context, &["procMount"]).and_then(Value::as_str) {
        supported_value(mount, &["Default", "Unmasked"], &path.child("procMount"), errors);
        if mount == "Unmasked" && scope.has_host_users() {
            let text = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(&path.child("procMount"), mount, text));
        }
    }
    validate_profile(context, "seccompProfile", "seccomp", path, errors);
    if bool_at(context, &["allowPrivilegeEscalation"]) == Some(false) {
        let shown = internal::shown("io.k8s.api.core.v1.SecurityContext", context);
        if bool_at(context, &["privileged"]) == Some(true) {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, &shown, text));
        }
        if strings_at(context, &["capabilities", "add"]).contains(&"CAP_SYS_ADMIN") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, &shown, text));
        }
    }
    validate_profile(context, "appArmorProfile", "AppArmor", path, errors);
}
