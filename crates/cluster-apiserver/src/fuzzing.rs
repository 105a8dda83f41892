//! Doors to what reads hostile bytes inside this crate, for the fuzzer (`tests/fuzz`). Only with the feature `fuzzing`, and nothing but doors.

use serde_json::Value;

use crate::crd::json_path;
use crate::fields::FieldSet;
use crate::http::path::RequestPath;
use crate::http::query::Query;
use crate::negotiate::yaml;
use crate::patch::json;
pub use crate::streams::fuzzing::{spdy, websocket};

/// Takes a request's path and query apart.
pub fn request_line(path: &str, query: &str) {
    RequestPath::parse(path);
    let query = Query::parse(query);
    query.text("labelSelector");
    query.flag("watch");
}

/// Lays a JSON patch over a value; `None` if it is none, or does not fit.
pub fn json_patch(value: &Value, patch: &Value) -> Option<Value> {
    let patch = json::Operations::of(patch.clone()).ok()?;
    json::apply(value, &patch).ok()
}

/// A set of fields, read and written again; `None` if it is none.
pub fn field_set(fields: &Value) -> Option<Value> {
    FieldSet::parse(fields).ok().map(|set| set.to_value())
}

/// Union, intersection and difference of two sets of fields.
pub fn field_sets(one: &Value, other: &Value) -> Option<[Value; 3]> {
    let (one, other) = (FieldSet::parse(one).ok()?, FieldSet::parse(other).ok()?);
    Some([one.union(&other), one.intersection(&other), one.difference(&other)].map(|set| set.to_value()))
}

/// A value as the YAML of an answer.
pub fn yaml_text(value: &Value) -> String {
    yaml::to_text(value)
}

/// What a column's path finds in a value.
pub fn json_path_text(value: &Value, path: &str) -> Vec<String> {
    json_path::find(value, path).into_iter().map(json_path::text).collect()
}
