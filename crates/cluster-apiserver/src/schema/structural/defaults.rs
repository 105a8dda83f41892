//! Defaults must be what an object could have: valid, and without anything that would be pruned.

use serde_json::Value;

use super::super::{Schema, validate};
use super::{EMBEDDED, children, compiled, has};
use crate::field_error::{FieldError, FieldPath};

pub(super) fn check(schema: &Value, path: &FieldPath<'_>, is_root: bool, errors: &mut Vec<FieldError>) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let compiled = compiled(schema);
        let at = path.child("default");
        if !is_pruned(&compiled, default, is_root || has(schema, EMBEDDED)) {
            errors.push(FieldError::invalid(&at, default, "must not have unknown fields"));
        }
        let mut found = Vec::new();
        validate(&compiled, default, None, &mut found);
        let prefix = at.to_string();
        errors.extend(found.into_iter().map(|error| moved(error, &prefix)));
    }
    children(schema, path, &mut |child, path| check(child, path, false, errors));
}

fn is_pruned(schema: &Schema, default: &Value, is_resource: bool) -> bool {
    let (mut pruned, mut dropped) = (default.clone(), Vec::new());
    schema.prune_part(&mut pruned, is_resource, &mut dropped);
    pruned == *default
}

/// An error of a value, as one of the default that it is.
fn moved(error: FieldError, prefix: &str) -> FieldError {
    let (field, message) = match error.field.as_str() {
        "<nil>" => (prefix.to_owned(), error.message.replace(" in body", &format!("{prefix} in body"))),
        field => {
            let dot = if field.starts_with('[') { "" } else { "." };
            let place = format!("{prefix}{dot}{field}");
            (place.clone(), error.message.replace(&format!("{field} in body"), &format!("{place} in body")))
        }
    };
    FieldError { field, message, ..error }
}
