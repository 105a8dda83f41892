//! What may stand under `allOf`, `anyOf`, `oneOf` and `not`: restrictions on values of fields that the structure knows, nothing else.

use serde_json::{Value, json};

use super::{additional, branches};
use crate::field_error::{FieldError, FieldPath};
use crate::value::entries_at;

/// Junctors of several schemas.
const JUNCTORS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// Keywords that belong to the structure, and what is said of them where they do not.
const STRUCTURE: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// Checks what a node says of values.
pub(super) fn values(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let skip_any = is_int_or_string(schema.get("anyOf"));
    let skip_first = branches(schema, "allOf").first().is_some_and(|first| is_int_or_string(first.get("anyOf")));
    junctors(schema, (skip_any, skip_first), path, errors);
}

/// `anyOf: [{type: integer}, {type: string}]`, which is how an int-or-string says so to others.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    any_of.is_some_and(|any_of| *any_of == json!([{"type": "integer"}, {"type": "string"}]))
}

fn junctors(schema: &Value, (skip_any, skip_first): (bool, bool), path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for name in JUNCTORS {
        if name == "anyOf" && skip_any {
            continue;
        }
        let path = path.child(name);
        for (index, branch) in branches(schema, name).iter().enumerate() {
            branch_of(branch, name == "allOf" && skip_first && index == 0, &path.index(index), errors);
        }
    }
    if let Some(not) = schema.get("not") {
        branch_of(not, false, &path.child("not"), errors);
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Err(error) = crate::pattern::compile(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, &why));
    }
}

fn branch_of(schema: &Value, skip_any: bool, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    junctors(schema, (skip_any, false), path, errors);
    if let Some(items) = schema.get("items") {
        branch_of(items, false, &path.child("items"), errors);
    }
    let properties = path.child("properties");
    for (name, property) in entries_at(schema, &["properties"]) {
        branch_of(property, false, &properties.key(name), errors);
    }
    for (name, why) in STRUCTURE {
        let is_said = match schema.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if is_said {
            errors.push(FieldError::forbidden(&path.child(name), why));
        }
    }
    if schema.get("properties").is_some_and(|properties| properties.get("metadata").is_some()) {
        errors.push(FieldError::forbidden(&properties.key("metadata"), "must not be specified in a nested context"));
    }
}

/// Checks that whatever is restricted is there.
pub(super) fn completeness(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    inside(schema, schema, path, path, errors);
    super::children(schema, path, &mut |child, path| completeness(child, path, errors));
}

/// The junctors of `said`, which speaks of `schema`.
fn inside(said: &Value, schema: &Value, place: &FieldPath<'_>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for name in JUNCTORS {
        let path = path.child(name);
        for (index, branch) in branches(said, name).iter().enumerate() {
            covered(branch, schema, place, &path.index(index), errors);
        }
    }
    if let Some(not) = said.get("not") {
        covered(not, schema, place, &path.child("not"), errors);
    }
}

fn covered(branch: &Value, schema: &Value, place: &FieldPath<'_>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    inside(branch, schema, place, path, errors);
    if let Some(items) = branch.get("items") {
        let (place, path) = (place.child("items"), path.child("items"));
        match schema.get("items") {
            Some(schema) => covered(items, schema, &place, &path, errors),
            None => errors.push(missing(&place, &path)),
        }
    }
    let (places, paths) = (place.child("properties"), path.child("properties"));
    for (name, property) in entries_at(branch, &["properties"]) {
        let (place, path) = (places.key(name), paths.key(name));
        match schema.get("properties").and_then(|properties| properties.get(name)) {
            Some(schema) => covered(property, schema, &place, &path, errors),
            None => errors.push(missing(&place, &path)),
        }
    }
    if let Some(values) = additional(branch) {
        let (place, path) = (place.child("additionalProperties"), path.child("additionalProperties"));
        match additional(schema) {
            Some(schema) => covered(values, schema, &place, &path, errors),
            None => errors.push(missing(&place, &path)),
        }
    }
}

fn missing(place: &FieldPath<'_>, path: &FieldPath<'_>) -> FieldError {
    FieldError::required(place, &format!("because it is defined in {path}"))
}
