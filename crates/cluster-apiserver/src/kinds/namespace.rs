//! Namespace: a room for objects, with finalizers of its own in `spec` that the namespace controller takes away.

use serde_json::{Value, json};

use super::{
    NameRule, Rules, Strategy,
    check::{Errors, texts},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, child_mut, copy_field, str_at, strings_at},
};

pub(super) struct Namespace;

impl Strategy for Namespace {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"phase":"Active"}"#, ..Rules::STATUS }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn prepare_create(&self, namespace: &mut Value) {
        self.rules().create(namespace);
        let mut finalizers = strings_at(namespace, &["spec", "finalizers"]);
        if !finalizers.contains(&"kubernetes") {
            finalizers.push("kubernetes");
        }
        let finalizers = json!(finalizers);
        as_object(child_mut(namespace, "spec")).insert("finalizers".to_owned(), finalizers);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        match subresource {
            Some("finalize") => copy_field(new, old, "status"),
            Some(_) => copy_field(new, old, "spec"),
            None => {
                copy_field(new, old, "status");
                copy_field(child_mut(new, "spec"), &old["spec"], "finalizers");
            }
        }
    }

    fn validate_create(&self, namespace: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let spec = root.child("spec");
        validate_finalizers(namespace, &spec.child("finalizers"), errors);
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("finalize") => self.validate_create(new, errors),
            Some("status") => validate_phase(new, errors),
            _ => {}
        }
    }

    fn canonicalize(&self, namespace: &mut Value) {
        let name = str_at(namespace, &["metadata", "name"]).to_owned();
        let labels = as_object(child_mut(child_mut(namespace, "metadata"), "labels"));
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

fn validate_finalizers(namespace: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, name) in strings_at(namespace, &["spec", "finalizers"]).into_iter().enumerate() {
        let wrong = names::qualified_name(name);
        let is_standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
        if wrong.is_empty() && !name.contains('/') && !is_standard {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path.index(index), name, text));
        }
        texts(path, name, wrong, errors);
    }
}

/// The phase follows the deletion.
fn validate_phase(namespace: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("status");
    let phase = str_at(namespace, &["status", "phase"]);
    let is_deleted = at(namespace, &["metadata", "deletionTimestamp"]).is_some();
    if !is_deleted && phase != "Active" {
        let text = "may only be 'Active' if `deletionTimestamp` is empty";
        errors.push(FieldError::invalid(&path.child("Phase"), phase, text));
    }
    if is_deleted && phase != "Terminating" {
        let text = "may only be 'Terminating' if `deletionTimestamp` is not empty";
        errors.push(FieldError::invalid(&path.child("Phase"), phase, text));
    }
}
