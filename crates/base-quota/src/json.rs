//! Short ways into JSON objects: what is absent, or of another type, is empty.

use serde_json::Value;

pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, name| &value[*name])
}

pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether there is anything at the place.
pub(crate) fn is_set(value: &Value, path: &[&str]) -> bool {
    !at(value, path).is_null()
}
