//! Reads an object into its type; what does not have the shape is told as Go's decoder tells it.

use crate::quantity::Quantity;
use crate::validation::MAPS;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Fields that hold an amount, and fields whose values are amounts.
const AMOUNTS: [&str; 2] = ["divisor", "sizeLimit"];
const MAPS_OF_AMOUNTS: [&str; 2] = ["limits", "requests"];

/// Reads an object. `which` is `"new"` or `"old"`.
pub(super) fn object<K: DeserializeOwned>(value: &Value, which: &str) -> Result<K, String> {
    let problem = match K::deserialize(value) {
        Ok(object) => match value.get("spec").and_then(bad_amount) {
            None => return Ok(object),
            Some(problem) => problem,
        },
        Err(error) => crate::crds::first_mismatch(value).unwrap_or_else(|| format!("json: {error}")),
    };
    Err(format!("cannot decode incoming {which} object: {problem}"))
}

/// What is wrong with the first amount that is none. To Rust's types it is a text like any other.
fn bad_amount(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => items.iter().find_map(bad_amount),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value {
            Value::String(text) if AMOUNTS.contains(&name.as_str()) => not_an_amount(text),
            Value::Object(amounts) if MAPS_OF_AMOUNTS.contains(&name.as_str()) => {
                amounts.values().filter_map(Value::as_str).find_map(not_an_amount)
            }
            _ if MAPS.contains(&name.as_str()) => None,
            value => bad_amount(value),
        }),
        _ => None,
    }
}

fn not_an_amount(text: &str) -> Option<String> {
    Quantity::parse(text).err().map(|error| error.to_string())
}
