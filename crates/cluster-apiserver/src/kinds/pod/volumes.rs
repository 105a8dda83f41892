//! Validation of volumes and of where containers mount them.
//!
//! Volumes that Kwick's node can make are checked in full; of those that belong to clouds and storage systems only that
//! there is one source and a name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{env, spec::Scope};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, required, supported_value, texts},
        resources::amount,
        storage,
    },
    names,
    value::{at, bool_at, entries_at, i64_at, list_at, str_at},
};

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MAX_MODE: i64 = 0o777;

/// Checks the volumes of a spec; answers with those that are valid.
pub(super) fn validate<'a>(
    spec: &'a Value,
    pod_name: &str,
    path: &FieldPath<'_>,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Value> {
    let mut valid = BTreeMap::new();
    for (index, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let item = path.index(index);
        let before = errors.len();
        validate_source(volume, pod_name, &item, errors);
        let name = str_at(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&item.child("name"), ""));
        } else {
            texts(&item.child("name"), name, names::dns1123_label(name), errors);
        }
        if valid.contains_key(name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        if errors.len() == before {
            valid.insert(name, volume);
        }
    }
    valid
}

fn validate_source(volume: &Value, pod_name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut has_one = false;
    // The empty directory is looked at first, and is never one too many.
    if let Some(empty) = at(volume, &["emptyDir"]) {
        has_one = true;
        let field = path.child("emptyDir");
        if at(empty, &["sizeLimit"]).is_some_and(|limit| amount(limit).is_negative()) {
            let text = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(&field.child("sizeLimit"), text));
        }
    }
    for (name, source) in entries_at(volume, &[]).filter(|(name, _)| !matches!(*name, "name" | "emptyDir")) {
        let field = path.child(name);
        if has_one {
            errors.push(FieldError::forbidden(&field, "may not specify more than 1 volume type"));
            continue;
        }
        has_one = true;
        match name {
            "hostPath" => validate_host_path(source, &field, errors),
            "secret" => {
                required(source, "secretName", &field, errors);
                validate_mode(source, "defaultMode", &field, errors);
                validate_items(source, &field.child("items"), errors);
            }
            "configMap" => {
                required(source, "name", &field, errors);
                validate_mode(source, "defaultMode", &field, errors);
                validate_items(source, &field.child("items"), errors);
            }
            "downwardAPI" => {
                validate_mode(source, "defaultMode", &field, errors);
                for file in list_at(source, &["items"]) {
                    validate_downward_file(file, &field, errors);
                }
            }
            "projected" => validate_projected(source, &field, errors),
            "persistentVolumeClaim" => {
                required(source, "claimName", &field, errors);
            }
            "nfs" => validate_nfs(source, &field, errors),
            "ephemeral" => validate_ephemeral(volume, pod_name, path, errors),
            "image" => {
                required(source, "reference", &field, errors);
            }
            "csi" => storage::validate_driver_name(str_at(source, &["driver"]), &field.child("driver"), errors),
            _ => {}
        }
    }
    if !has_one {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// Checks a path on the host.
pub(in crate::kinds) fn validate_host_path(source: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let target = str_at(source, &["path"]);
    if target.is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
        return;
    }
    validate_no_backsteps(target, &path.child("path"), errors);
    if let Some(kind) = at(source, &["type"]).and_then(Value::as_str) {
        supported_value(kind, TYPES, &path.child("type"), errors);
    }
}

/// Checks an NFS export.
pub(in crate::kinds) fn validate_nfs(source: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    required(source, "server", path, errors);
    let target = required(source, "path", path, errors);
    if !target.starts_with('/') {
        errors.push(FieldError::invalid(&path.child("path"), target, "must be an absolute path"));
    }
}

fn validate_mode(source: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(mode) = i64_at(source, &[name]).filter(|mode| !(0..=MAX_MODE).contains(mode)) {
        errors.push(FieldError::invalid(&path.child(name), mode, FILE_MODE));
    }
}

fn validate_items(source: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, item) in list_at(source, &["items"]).iter().enumerate() {
        let field = path.index(index);
        required(item, "key", &field, errors);
        let target = required(item, "path", &field, errors);
        validate_file_path(target, &field.child("path"), errors);
        validate_mode(item, "mode", &field, errors);
    }
}

fn validate_downward_file(file: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let target = required(file, "path", path, errors);
    validate_file_path(target, &path.child("path"), errors);
    match (at(file, &["fieldRef"]), at(file, &["resourceFieldRef"])) {
        (Some(reference), resource) => {
            env::validate_volume_field_ref(reference, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let text = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", text));
            }
        }
        (None, Some(resource)) => {
            env::validate_resource_ref(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => {
            errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    validate_mode(file, "mode", path, errors);
}

fn validate_projected(source: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_mode(source, "defaultMode", path, errors);
    let list = path.child("sources");
    let mut paths = BTreeSet::new();
    for (index, part) in list_at(source, &["sources"]).iter().enumerate() {
        let item = list.index(index);
        let mut count = 0;
        for (name, projection) in entries_at(part, &[]) {
            count += 1;
            let field = item.child(name);
            let mut shown = str_at(projection, &["name"]);
            match name {
                "secret" | "configMap" => {
                    required(projection, "name", &field, errors);
                    validate_items(projection, &field.child("items"), errors);
                }
                "downwardAPI" => {
                    for file in list_at(projection, &["items"]) {
                        validate_downward_file(file, &field, errors);
                    }
                }
                "serviceAccountToken" => validate_token(projection, path, &field, errors),
                _ => {}
            }
            for file in list_at(projection, &["items"]) {
                let target = str_at(file, &["path"]);
                if name == "downwardAPI" {
                    shown = target;
                }
                if !target.is_empty() && !paths.insert(target) {
                    errors.push(FieldError::invalid(path, shown, "conflicting duplicate paths"));
                }
            }
        }
        if count > 1 {
            errors.push(FieldError::forbidden(&item, "may not specify more than 1 volume type per source"));
        }
    }
}

fn validate_token(token: &Value, volume: &FieldPath<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    const SHORTEST_S: i64 = 600;
    const LONGEST_S: i64 = 1 << 32;
    let field = path.child("expirationSeconds");
    match i64_at(token, &["expirationSeconds"]) {
        None => errors.push(FieldError::required(&field, "")),
        Some(seconds) if seconds < SHORTEST_S => {
            errors.push(FieldError::invalid(&field, seconds, "may not specify a duration less than 10 minutes"));
        }
        Some(seconds) if seconds > LONGEST_S => {
            let text = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(&field, seconds, text));
        }
        Some(_) => {}
    }
    let target = str_at(token, &["path"]);
    if target.is_empty() {
        errors.push(FieldError::required(&volume.child("path"), ""));
    } else {
        validate_file_path(target, &volume.child("path"), errors);
    }
}

fn validate_ephemeral(volume: &Value, pod_name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("ephemeral");
    match at(volume, &["ephemeral", "volumeClaimTemplate"]) {
        None => errors.push(FieldError::required(&field.child("volumeClaimTemplate"), "")),
        Some(template) => {
            let place = field.child("volumeClaimTemplate");
            storage::validate_claim_spec(&template["spec"], &place.child("spec"), errors);
        }
    }
    let name = str_at(volume, &["name"]);
    if !pod_name.is_empty() && !name.is_empty() {
        let claim = format!("{pod_name}-{name}");
        for text in names::dns1123_subdomain(&claim) {
            let text = format!("PVC name {}: {text}", crate::field_error::quote(&claim));
            errors.push(FieldError::invalid(&path.child("name"), name, &text));
        }
    }
}

/// A path inside a volume: relative, without steps back.
pub(super) fn validate_descending(target: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.push(FieldError::invalid(path, target, "must be a relative path"));
    }
    validate_no_backsteps(target, path, errors);
}

/// A path without `..`.
pub(super) fn validate_no_backsteps(target: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if target.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, target, "must not contain '..'"));
    }
}

/// A file's path in a volume: also no name that starts with `..`, which the node keeps for itself.
fn validate_file_path(target: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_descending(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.push(FieldError::invalid(path, target, "must not start with '..'"));
    }
}

/// Checks `volumeMounts` and `volumeDevices` of a container.
pub(super) fn validate_mounts(scope: &Scope<'_>, container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let [device_names, device_paths] = texts_of(container, "volumeDevices", ["name", "devicePath"]);
    let list = path.child("volumeMounts");
    let mut points = BTreeSet::new();
    for (index, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        let item = list.index(index);
        let name = required(mount, "name", &item, errors);
        if scope.volume(name).is_none() {
            errors.push(FieldError::not_found(&item.child("name"), name));
        }
        let point = required(mount, "mountPath", &item, errors);
        if !points.insert(point) {
            errors.push(FieldError::invalid(&item.child("mountPath"), point, "must be unique"));
        }
        if device_names.contains(name) {
            let text = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&item.child("name"), name, text));
        }
        if device_paths.contains(point) {
            let text = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&item.child("mountPath"), point, text));
        }
        validate_mount(mount, container, &list, &item, errors);
    }
    validate_devices(scope, container, &path.child("volumeDevices"), errors);
}

/// What the items of a container's list have in each of two fields.
fn texts_of<'a>(container: &'a Value, list: &str, fields: [&str; 2]) -> [BTreeSet<&'a str>; 2] {
    fields.map(|field| list_at(container, &[list]).iter().map(|item| str_at(item, &[field])).collect())
}

fn validate_mount(mount: &Value, container: &Value, list: &FieldPath<'_>, item: &FieldPath<'_>, errors: &mut Errors) {
    let sub_path = str_at(mount, &["subPath"]);
    validate_descending(sub_path, &list.child("subPath"), errors);
    let expression = str_at(mount, &["subPathExpr"]);
    if !expression.is_empty() && !sub_path.is_empty() {
        let text = "subPathExpr and subPath are mutually exclusive";
        errors.push(FieldError::invalid(&item.child("subPathExpr"), expression, text));
    }
    validate_descending(expression, &list.child("subPathExpr"), errors);
    if let Some(mode) = at(mount, &["mountPropagation"]).and_then(Value::as_str) {
        let field = list.child("mountPropagation");
        supported_value(mode, &["Bidirectional", "HostToContainer", "None"], &field, errors);
        if mode == "Bidirectional" && bool_at(container, &["securityContext", "privileged"]) != Some(true) {
            let text = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(&field, text));
        }
    }
    validate_recursive_read_only(mount, &list.child("recursiveReadOnly"), errors);
}

fn validate_recursive_read_only(mount: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match at(mount, &["recursiveReadOnly"]).and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if bool_at(mount, &["readOnly"]) != Some(true) {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(str_at(mount, &["mountPropagation"]), "" | "None") {
                let text = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, text));
            }
        }
        Some(other) => supported_value(other, &["Disabled", "Enabled", "IfPossible"], path, errors),
    }
}

fn validate_devices(scope: &Scope<'_>, container: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let [mount_names, mount_paths] = texts_of(container, "volumeMounts", ["name", "mountPath"]);
    let (mut seen_names, mut seen_paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in list_at(container, &["volumeDevices"]).iter().enumerate() {
        let item = path.index(index);
        let name = required(device, "name", &item, errors);
        if !seen_names.insert(name) {
            errors.push(FieldError::invalid(&item.child("name"), name, "must be unique"));
        }
        match scope.volume(name) {
            None => errors.push(FieldError::not_found(&item.child("name"), name)),
            Some(volume) => {
                if at(volume, &["persistentVolumeClaim"]).is_none() && at(volume, &["ephemeral"]).is_none() {
                    let text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(FieldError::invalid(&item.child("name"), name, text));
                }
            }
        }
        let target = required(device, "devicePath", &item, errors);
        if !seen_paths.insert(target) {
            errors.push(FieldError::invalid(&item.child("devicePath"), target, "must be unique"));
        }
        if target.split('/').any(|part| part == "..") {
            let text = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid(&item.child("devicePath"), target, text));
        }
        if mount_names.contains(name) {
            let text = "must not already exist in volumeMounts";
            errors.push(FieldError::invalid(&item.child("name"), name, text));
        }
        if mount_paths.contains(target) {
            let text = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&item.child("devicePath"), target, text));
        }
    }
}

/// The places of the volumes' sources that are a service account's token: volume, source.
pub(super) fn token_sources(spec: &Value) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (volume_index, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        for (index, source) in list_at(volume, &["projected", "sources"]).iter().enumerate() {
            if at(source, &["serviceAccountToken"]).is_some() {
                found.push((volume_index, index));
            }
        }
    }
    found
}
