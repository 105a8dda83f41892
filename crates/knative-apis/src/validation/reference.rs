//! References to an object of the same namespace.

use super::mask::disallowed;
use super::names;
use crate::field_error::{FieldErrors, invalid_value, missing_field};
use k8s_openapi::api::core::v1::ObjectReference;

/// What is wrong with a reference that may say kind, version and name only.
pub fn object_reference(reference: &ObjectReference) -> FieldErrors {
    disallowed(reference, &["apiVersion", "kind", "name"])
        .and(part(reference.api_version.as_deref(), "apiVersion", names::qualified_name))
        .and(part(reference.kind.as_deref(), "kind", names::c_identifier))
        .and(part(reference.name.as_deref(), "name", names::dns1123_label))
}

fn part(value: Option<&str>, path: &str, check: fn(&str) -> Vec<String>) -> FieldErrors {
    match value {
        None | Some("") => missing_field(path),
        Some(text) => {
            let problems = check(text);
            if problems.is_empty() { FieldErrors::none() } else { invalid_value(problems.join(", "), path) }
        }
    }
}
