//! Reads an object into its type; what does not have the shape is told as Go's decoder tells it.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads an object. `which` is `"new"` or `"old"`.
pub(super) fn object<K: DeserializeOwned>(value: &Value, which: &str) -> Result<K, String> {
    K::deserialize(value).map_err(|error| {
        let problem = crate::crds::first_mismatch(value).unwrap_or_else(|| format!("json: {error}"));
        format!("cannot decode incoming {which} object: {problem}")
    })
}
