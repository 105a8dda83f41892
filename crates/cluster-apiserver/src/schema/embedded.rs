//! Resources inside of objects (`x-kubernetes-embedded-resource`): each has an `apiVersion` and a `kind`, and valid metadata if any.

use serde_json::Value;

use super::Schema;
use crate::field_error::{FieldError, FieldPath};
use crate::kinds::metadata::{validate_annotations, validate_labels};
use crate::names;
use crate::value::str_at;

/// Checks every embedded resource below a node.
pub(super) fn check_embedded(schema: &Schema, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if !schema.has_embedded {
        return;
    }
    match value {
        Value::Object(fields) => {
            if schema.is_embedded_resource {
                check_resource(value, path, errors);
            }
            for (name, value) in fields {
                if let Some(property) = schema.property(name) {
                    check_embedded(property, value, &path.child(name), errors);
                } else if let Some(schema) = schema.additional() {
                    check_embedded(schema, value, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items() else { return };
            for (index, item) in items.iter().enumerate() {
                check_embedded(schema, item, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn check_resource(value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        match value.get(name) {
            None => errors.push(FieldError::required(&path, "")),
            Some(Value::String(text)) => check_name(name, text, &path, errors),
            Some(other) => errors.push(FieldError::invalid(&path, other, "must be a string")),
        }
    }
    let Some(metadata) = value.get("metadata") else { return };
    let path = path.child("metadata");
    if !metadata.is_object() {
        errors.push(FieldError::invalid(&path, metadata, "must be an object"));
        return;
    }
    let (name, generate) = (str_at(metadata, &["name"]), str_at(metadata, &["generateName"]));
    for wrong in names::path_segment(name) {
        errors.push(FieldError::invalid(&path.child("name"), name, &wrong));
    }
    for wrong in names::path_segment_prefix(generate) {
        errors.push(FieldError::invalid(&path.child("generateName"), generate, &wrong));
    }
    validate_labels(&metadata["labels"], &path.child("labels"), errors);
    validate_annotations(&metadata["annotations"], &path.child("annotations"), errors);
}

fn check_name(name: &str, text: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.push(FieldError::invalid(path, text, "must not be empty"));
    } else if name == "apiVersion" {
        if text.matches('/').count() > 1 {
            errors.push(FieldError::invalid(path, text, &format!("unexpected GroupVersion string: {text}")));
        }
    } else {
        let wrong = names::dns1035_label(&text.to_lowercase());
        if !wrong.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(FieldError::invalid(path, text, &why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_embedded_resource_is_one() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"t": {"type": "array", "items": {
            "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
        }}}}));
        let found = |item: Value| {
            let mut errors = Vec::new();
            check_embedded(&schema, &json!({"t": [item]}), &FieldPath::Root, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(found(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})), "");
        assert_eq!(found(json!({})), "t[0].apiVersion: Required value; t[0].kind: Required value");
        assert_eq!(
            found(json!({"apiVersion": "a/b/c", "kind": "", "metadata": {"name": "a/b"}})),
            "t[0].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c; \
             t[0].kind: Invalid value: \"\": must not be empty; \
             t[0].metadata.name: Invalid value: \"a/b\": may not contain '/'"
        );
    }
}
