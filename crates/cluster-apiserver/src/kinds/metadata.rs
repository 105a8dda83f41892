//! Validation of `metadata`, the same for every kind but for the form of names.
//!
//! Specified by apimachinery's `ValidateObjectMeta` and `ValidateObjectMetaUpdate`; kinds of the core group and those
//! that follow it also ask finalizers to be qualified or standard.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Kind, NameRule};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, bool_at, entries_at, i64_at, list_at, str_at, strings_at},
};

/// The text for a field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

const ANNOTATIONS_MAX_BYTES: usize = 256 << 10;
const FIELD_MANAGER_MAX: usize = 128;

/// Checks the metadata of a new object.
pub fn validate_create(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    validate_object(object, kind.is_namespaced(), kind.strategy.name_rule(), &FieldPath::Root, errors);
    if needs_domains(kind) {
        validate_finalizer_domains(&object["metadata"], errors);
    }
}

/// Whether the finalizers of a kind are qualified with a domain; not of those whose own check does without the core group's.
fn needs_domains(kind: &Kind) -> bool {
    const WITHOUT: [&str; 4] =
        ["admissionregistration.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io", "node.k8s.io"];
    !WITHOUT.contains(&kind.group)
}

/// Checks the metadata of a new object of any kind, a custom one included.
pub fn validate_object(
    object: &Value,
    is_namespaced: bool,
    names: NameRule,
    root: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let meta = &object["metadata"];
    let path = root.child("metadata");
    validate_names(meta, names, &path, errors);
    validate_namespace(meta, is_namespaced, &path, errors);
    validate_common(meta, &path, errors);
    validate_finalizers(meta, &path, errors);
}

/// Checks what an update does to metadata.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    validate_object(new, kind.is_namespaced(), NameRule::PathSegment, &FieldPath::Root, errors);
    validate_change(new, old, errors);
    if needs_domains(kind) {
        validate_finalizer_domains(&new["metadata"], errors);
    }
}

/// Checks the metadata of a custom object after an update. As kube-apiserver does, what is wrong is said once for every check that finds it.
pub fn validate_custom_update(new: &Value, old: &Value, is_namespaced: bool, errors: &mut Vec<FieldError>) {
    validate_object(new, is_namespaced, NameRule::PathSegment, &FieldPath::Root, errors);
    for _ in 0..2 {
        validate_change(new, old, errors);
        validate_common(&new["metadata"], &FieldPath::Root.child("metadata"), errors);
    }
}

/// Checks what an update does to metadata, but for what it is after that.
fn validate_change(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (meta, old_meta) = (&new["metadata"], &old["metadata"]);
    let root = FieldPath::Root;
    let path = root.child("metadata");
    if at(old_meta, &["deletionTimestamp"]).is_some() {
        refuse_new_finalizers(meta, old_meta, &path, errors);
    }
    if str_at(meta, &["resourceVersion"]).is_empty() {
        errors.push(FieldError::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let generation = i64_at(meta, &["generation"]).unwrap_or_default();
    if generation < i64_at(old_meta, &["generation"]).unwrap_or_default() {
        errors.push(FieldError::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if at(meta, &[name]) != at(old_meta, &[name]) {
            errors.push(FieldError::invalid(&path.child(name), &meta[name], IMMUTABLE));
        }
    }
}

fn validate_names(meta: &Value, rule: NameRule, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let generate = str_at(meta, &["generateName"]);
    if !generate.is_empty() {
        for text in check_name(rule, generate, true) {
            errors.push(FieldError::invalid(&path.child("generateName"), generate, &text));
        }
    }
    let name = str_at(meta, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    }
    for text in if name.is_empty() { Vec::new() } else { check_name(rule, name, false) } {
        errors.push(FieldError::invalid(&path.child("name"), name, &text));
    }
}

/// What is wrong with `name`; a prefix, which gets a generated ending, may end in a dash.
pub fn check_name(rule: NameRule, name: &str, is_prefix: bool) -> Vec<String> {
    if rule == NameRule::PathSegment {
        return if is_prefix { names::path_segment_prefix(name) } else { names::path_segment(name) };
    }
    let name = if is_prefix { names::as_name(name) } else { name.into() };
    match rule {
        NameRule::Label => names::dns1123_label(&name),
        NameRule::Label1035 => names::dns1035_label(&name),
        NameRule::Subdomain | NameRule::PathSegment => names::dns1123_subdomain(&name),
    }
}

fn validate_namespace(meta: &Value, is_namespaced: bool, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let field = path.child("namespace");
    let namespace = str_at(meta, &["namespace"]);
    match (is_namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required(&field, "")),
        (true, false) => {
            for text in names::dns1123_label(namespace) {
                errors.push(FieldError::invalid(&field, namespace, &text));
            }
        }
        (false, false) => errors.push(FieldError::forbidden(&field, "not allowed on this type")),
        (false, true) => {}
    }
}

fn validate_common(meta: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if let Some(generation) = i64_at(meta, &["generation"]).filter(|n| *n < 0) {
        errors.push(FieldError::invalid(&path.child("generation"), generation, names::NEGATIVE));
    }
    validate_labels(&meta["labels"], &path.child("labels"), errors);
    validate_annotations(&meta["annotations"], &path.child("annotations"), errors);
    validate_owner_references(&meta["ownerReferences"], &path.child("ownerReferences"), errors);
    validate_managed_fields(&meta["managedFields"], &path.child("managedFields"), errors);
}

/// Checks the keys and values of a map of labels.
pub fn validate_labels(labels: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in entries_at(labels, &[]) {
        for text in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key, &text));
        }
        let value = value.as_str().unwrap_or_default();
        for text in names::label_value(value) {
            errors.push(FieldError::invalid(path, value, &text));
        }
    }
}

/// Checks the keys of a map of annotations, without regard to case, and their total size.
pub fn validate_annotations(annotations: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let mut bytes = 0;
    for (key, value) in entries_at(annotations, &[]) {
        for text in names::qualified_name(&key.to_ascii_lowercase()) {
            errors.push(FieldError::invalid(path, key, &text));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX_BYTES));
    }
}

fn validate_owner_references(list: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let mut controller: Option<String> = None;
    for (index, owner) in list_at(list, &[]).iter().enumerate() {
        validate_owner(owner, &path.index(index), errors);
        if bool_at(owner, &["controller"]) != Some(true) {
            continue;
        }
        let this = format!("{}/{}", str_at(owner, &["kind"]), str_at(owner, &["name"]));
        match &controller {
            Some(first) => errors.push(FieldError::invalid(
                path,
                list,
                &format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"),
            )),
            None => controller = Some(this),
        }
    }
}

fn validate_owner(owner: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let api_version = str_at(owner, &["apiVersion"]);
    let parts: Vec<&str> = api_version.split('/').collect();
    if !api_version.is_empty() && (parts.len() > 2 || parts.last().is_none_or(|version| version.is_empty())) {
        let text = "must be <group>/<version> or <version>";
        errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, text));
    }
    for name in ["apiVersion", "kind", "name", "uid"] {
        if str_at(owner, &[name]).is_empty() {
            errors.push(FieldError::required(&path.child(name), "must not be empty"));
        }
    }
    if api_version == "v1" && str_at(owner, &["kind"]) == "Event" {
        errors.push(FieldError::invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
    }
}

fn validate_finalizers(meta: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let field = path.child("finalizers");
    let list = strings_at(meta, &["finalizers"]);
    for name in &list {
        for text in names::qualified_name(name) {
            errors.push(FieldError::invalid(&field, *name, &text));
        }
    }
    if list.contains(&"orphan") && list.contains(&"foregroundDeletion") {
        let text = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&field, &meta["finalizers"], text));
    }
}

/// Finalizers of built-in kinds are qualified with a domain, but for a few old ones.
fn validate_finalizer_domains(meta: &Value, errors: &mut Vec<FieldError>) {
    let root = FieldPath::Root;
    let metadata = root.child("metadata");
    let field = metadata.child("finalizers");
    for (index, name) in strings_at(meta, &["finalizers"]).iter().enumerate() {
        let is_standard =
            matches!(*name, "kubernetes" | "orphan" | "foregroundDeletion" | crate::crd::CLEANUP_FINALIZER);
        if !name.contains('/') && !is_standard {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&field.index(index), *name, text));
        }
    }
}

/// What is said of the finalizers that a custom object has and `old` has not, if they are not qualified with a domain.
pub(crate) fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let names = |object: &Value| -> BTreeSet<String> {
        strings_at(object, &["metadata", "finalizers"]).into_iter().map(str::to_owned).collect()
    };
    let old = old.map(names).unwrap_or_default();
    let added = names(object).into_iter().filter(|name| !old.contains(name));
    let unqualified = added
        .filter(|name| !name.contains('/') && !matches!(name.as_str(), "kubernetes" | "orphan" | "foregroundDeletion"));
    let warning = |name: String| {
        let with_path = if name.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name{with_path} to avoid accidental conflicts with other \
             finalizer writers",
            crate::field_error::quote(&name)
        )
    };
    unqualified.map(warning).collect()
}

fn refuse_new_finalizers(meta: &Value, old_meta: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let old: BTreeSet<&str> = strings_at(old_meta, &["finalizers"]).into_iter().collect();
    let mut extra: Vec<&str> = strings_at(meta, &["finalizers"]).into_iter().filter(|f| !old.contains(f)).collect();
    if extra.is_empty() {
        return;
    }
    extra.sort_unstable();
    extra.dedup();
    let list: Vec<String> = extra.iter().map(|f| crate::field_error::quote(f)).collect();
    let text = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    errors.push(FieldError::forbidden(&path.child("finalizers"), &text));
}

fn validate_managed_fields(list: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for (index, entry) in list_at(list, &[]).iter().enumerate() {
        let path = path.index(index);
        match str_at(entry, &["operation"]) {
            "Apply" | "Update" => {}
            "" => errors.push(FieldError::required(&path.child("operation"), "must not be empty")),
            other => errors.push(FieldError::not_supported(&path.child("operation"), other, &["Apply", "Update"])),
        }
        let fields_type = str_at(entry, &["fieldsType"]);
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.push(FieldError::invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        if str_at(entry, &["manager"]).len() > FIELD_MANAGER_MAX {
            errors.push(FieldError::too_long(&path.child("manager"), FIELD_MANAGER_MAX));
        }
    }
}
