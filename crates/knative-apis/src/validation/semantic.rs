//! Whether two objects ask for the same, however they are written.

use serde::Serialize;
use serde_json::Value;

/// Objects under these names are maps: an empty one says nothing.
pub const MAPS: [&str; 6] = ["annotations", "labels", "limits", "requests", "nodeSelector", "matchLabels"];

/// Objects under these names are always written by Go: an empty one says nothing either.
const ALWAYS_THERE: [&str; 2] = ["metadata", "resources"];

/// The object as JSON without what says nothing: nulls, empty lists, empty maps.
pub fn normalized<T: Serialize>(object: &T) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    normalize(&mut value);
    value
}

fn normalize(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(fields) => {
            fields.values_mut().for_each(normalize);
            fields.retain(|name, value| !says_nothing(name, value));
        }
        _ => {}
    }
}

fn says_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && (MAPS.contains(&name) || ALWAYS_THERE.contains(&name)),
        _ => false,
    }
}

/// Whether two objects ask for the same.
pub fn semantically_equal<T: Serialize>(a: &T, b: &T) -> bool {
    normalized(a) == normalized(b)
}
