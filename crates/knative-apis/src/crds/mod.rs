//! The CustomResourceDefinitions of all kinds, generated from the types.
//!
//! Schemas of our own types are derived from the structs (names, types, and the documentation of
//! each field for `kubectl explain`). The Pod's spec is Kubernetes' type, of which Knative shows a
//! part: [`schema`] lists that part, and a test holds that every listed field exists there. What
//! an API server must know beside the schema (names, columns, scope) is a table in [`kinds`].
//!
//! `crates/knative-apis/crds/*.yaml` are these definitions as files, for `kubectl apply`; a test
//! holds that they are current.

mod kinds;
mod mismatch;
pub(crate) mod schema;
mod structural;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use mismatch::first_mismatch;

use serde_json::Value;

/// The definitions of all kinds, as JSON.
pub fn crds() -> Vec<Value> {
    kinds::kinds().iter().map(kinds::Kind::definition).collect()
}

/// The same as files: a name (`services.serving.knative.dev.yaml`) and its text.
pub fn files() -> Vec<(String, String)> {
    let name = |crd: &Value| crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    crds().iter().map(|crd| (format!("{}.yaml", name(crd)), yaml::document(crd))).collect()
}
