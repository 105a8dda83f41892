//! What makes a schema acceptable: every node has a type, so that pruning and defaulting know what they stand on, and what is said of values
//! contradicts nothing of that.
//!
//! [`structural_errors`] looks at the structure first ([`nested`]: what may stand under `anyOf` and the like), then at defaults, then at keywords
//! ([`keywords`]), and at rules in CEL only if all of that is right ([`rules`]).

mod defaults;
mod keywords;
mod nested;
mod rules;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Schema;
use crate::field_error::{FieldError, FieldPath};
use crate::value::{bool_at, entries_at, list_at, str_at};

/// Deeper schemas are refused.
const MAX_DEPTH: usize = 64;
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

/// Where in a schema a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is wrong with a version's schema.
pub fn structural_errors(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if is_too_deep(schema, 0) {
        errors.push(FieldError::forbidden(path, "schema is nested too deeply"));
        return;
    }
    let before = errors.len();
    if bool_at(schema, &["nullable"]) == Some(true) {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut found = Vec::new();
    node(schema, Level::Root, path, &mut found);
    nested::completeness(schema, path, &mut found);
    if found.is_empty() {
        defaults::check(schema, path, true, &mut found);
    }
    found.sort_by_key(ToString::to_string);
    errors.append(&mut found);
    keywords::check(schema, path, keywords::Place::root(), errors);
    if errors.len() == before {
        rules::check(schema, path, errors);
    }
}

fn is_too_deep(schema: &Value, depth: usize) -> bool {
    match schema {
        _ if depth > 2 * MAX_DEPTH => true,
        Value::Object(fields) => fields.values().any(|value| is_too_deep(value, depth + 1)),
        Value::Array(items) => items.iter().any(|item| is_too_deep(item, depth + 1)),
        _ => false,
    }
}

fn has(schema: &Value, name: &str) -> bool {
    bool_at(schema, &[name]) == Some(true)
}

/// The schema of fields that are not named, if it is one.
fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|additional| additional.is_object())
}

fn node(schema: &Value, level: Level, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if str_at(schema, &["type"]) == "array" && schema.get("items").is_none() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        node(items, Level::Item, &path.child("items"), errors);
    }
    let properties = path.child("properties");
    for (name, property) in entries_at(schema, &["properties"]) {
        node(property, Level::Field, &properties.key(name), errors);
    }
    let extra = path.child("additionalProperties");
    if schema.get("additionalProperties").is_some() && level == Level::Root {
        errors.push(FieldError::forbidden(&extra, "must not be used at the root"));
    }
    if let Some(schema) = additional(schema) {
        node(schema, Level::Field, &extra, errors);
    }
    check_extensions(schema, path, errors);
    nested::values(schema, path, errors);
    check_type(schema, level, path, errors);
    check_metadata(schema, level, path, errors);
}

fn check_extensions(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for name in [PRESERVE, EMBEDDED] {
        if has(schema, INT_OR_STRING) && has(schema, name) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(name), true, why));
        }
    }
}

fn check_type(schema: &Value, level: Level, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let (kind, at) = (str_at(schema, &["type"]), path.child("type"));
    if has(schema, EMBEDDED) && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() { FieldError::required(&at, why) } else { FieldError::invalid(&at, kind, why) });
    } else if kind.is_empty() && !has(schema, INT_OR_STRING) && !has(schema, PRESERVE) {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, why));
    }
    if has(schema, EMBEDDED) && schema.get("additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&at, kind, "must be object at the root"));
    }
    if has(schema, EMBEDDED) && !has(schema, PRESERVE) && entries_at(schema, &["properties"]).count() == 0 {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), why));
    }
}

/// What every resource has may be said again, but not differently.
fn check_metadata(schema: &Value, level: Level, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let is_resource = level == Level::Root || has(schema, EMBEDDED);
    let properties = path.child("properties");
    let property = |name: &str| schema.get("properties").and_then(|properties| properties.get(name));
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        if let Some(property) = property(name)
            && is_resource
            && str_at(property, &["type"]) != wanted
        {
            let path = properties.key(name);
            let why = format!("must be {wanted}");
            errors.push(FieldError::invalid(&path.child("type"), str_at(property, &["type"]), &why));
        }
    }
    let Some(metadata) = property("metadata").filter(|_| level == Level::Root) else { return };
    let is_known = |name: &str| matches!(name, "name" | "generateName");
    let says_more = metadata.as_object().into_iter().flatten().any(|(name, value)| match name.as_str() {
        "type" | "description" | "default" => false,
        "properties" => value.as_object().is_some_and(|fields| !fields.keys().all(|name| is_known(name))),
        _ => true,
    });
    if says_more {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&properties.key("metadata"), why));
    }
}

/// The places of all nodes below one that values are checked against, each with its path.
fn children(schema: &Value, path: &FieldPath<'_>, visit: &mut dyn FnMut(&Value, &FieldPath<'_>)) {
    let properties = path.child("properties");
    for (name, property) in entries_at(schema, &["properties"]) {
        visit(property, &properties.key(name));
    }
    if let Some(schema) = additional(schema) {
        visit(schema, &path.child("additionalProperties"));
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        visit(items, &path.child("items"));
    }
}

/// The schemas of a junctor, such as `anyOf`.
fn branches<'v>(schema: &'v Value, name: &str) -> &'v [Value] {
    list_at(schema, &[name])
}

/// A schema, compiled by itself.
fn compiled(schema: &Value) -> Schema {
    Schema::parse(schema)
}
