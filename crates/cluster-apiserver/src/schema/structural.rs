//! What makes a schema structural: every node has a type, so that pruning and defaulting know what they stand on.

use serde_json::Value;

use super::{Schema, validate};
use crate::field_error::{FieldError, FieldPath};
use crate::value::{bool_at, entries_at, str_at};

/// Deeper schemas are refused.
const MAX_DEPTH: usize = 64;
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What keeps a version's schema from being structural.
pub fn structural_errors(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    match str_at(schema, &["type"]) {
        "object" => {}
        "" => errors.push(FieldError::required(&path.child("type"), "must not be empty at the root")),
        other => errors.push(FieldError::invalid(&path.child("type"), other, "must be object at the root")),
    }
    children(schema, path, 0, errors);
}

fn node(schema: &Value, path: &FieldPath<'_>, depth: usize, missing: &str, errors: &mut Vec<FieldError>) {
    if depth > MAX_DEPTH {
        errors.push(FieldError::forbidden(path, "schema is nested too deeply"));
        return;
    }
    let is_free = bool_at(schema, &["x-kubernetes-int-or-string"]) == Some(true)
        || bool_at(schema, &["x-kubernetes-preserve-unknown-fields"]) == Some(true);
    match str_at(schema, &["type"]) {
        "" if is_free => {}
        "" => errors.push(FieldError::required(&path.child("type"), missing)),
        kind if TYPES.contains(&kind) => {}
        kind => errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES)),
    }
    check_default(schema, path, errors);
    children(schema, path, depth, errors);
}

fn check_default(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let Some(default) = schema.get("default") else { return };
    let mut found = Vec::new();
    validate(&Schema::parse(schema), default, &mut found);
    let here = path.child("default");
    for error in found {
        errors.push(FieldError { field: format!("{here}{}", suffix(&error.field)), ..error });
    }
}

fn suffix(field: &str) -> String {
    if field == "<nil>" { String::new() } else { format!(".{field}") }
}

fn children(schema: &Value, path: &FieldPath<'_>, depth: usize, errors: &mut Vec<FieldError>) {
    let properties = path.child("properties");
    for (name, property) in entries_at(schema, &["properties"]) {
        node(property, &properties.key(name), depth + 1, "must not be empty for specified object fields", errors);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|additional| additional.is_object()) {
        let path = path.child("additionalProperties");
        node(additional, &path, depth + 1, "must not be empty for specified object fields", errors);
    }
    match schema.get("items") {
        Some(items) if items.is_object() => {
            node(items, &path.child("items"), depth + 1, "must not be empty for specified array items", errors);
        }
        None if str_at(schema, &["type"]) == "array" => {
            errors.push(FieldError::required(&path.child("items"), "must be specified"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(schema: Value) -> Vec<String> {
        let mut errors = Vec::new();
        structural_errors(&schema, &FieldPath::Root.child("schema"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_node_needs_a_type() {
        assert!(
            errors(json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}))
                .is_empty()
        );
        assert_eq!(
            errors(json!({"type": "string"})),
            ["schema.type: Invalid value: \"string\": must be object at the root"]
        );
        assert_eq!(
            errors(
                json!({"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "array", "items": {}}}})
            ),
            [
                "schema.properties[a].type: Required value: must not be empty for specified object fields",
                "schema.properties[b].items: Required value: must be specified",
                "schema.properties[c].items.type: Required value: must not be empty for specified array items",
            ]
        );
        let mut deep = json!({"type": "object"});
        for _ in 0..100 {
            deep = json!({"type": "object", "properties": {"a": deep}});
        }
        assert!(errors(deep)[0].contains("nested too deeply"));
    }

    #[test]
    fn a_default_must_be_valid() {
        let found =
            errors(json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 1, "default": 5}}}));
        assert_eq!(
            found,
            ["schema.properties[a].default: Invalid value: 5: in body should be less than or equal to 1"]
        );
    }
}
