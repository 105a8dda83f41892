//! Which fields of a Kubernetes type are set that Knative does not accept.
//!
//! Knative compares an object with a copy that has only the accepted fields. The same is said here
//! by listing the accepted names; what is set beside them is reported by its JSON name.

use super::semantic::MAPS;
use crate::field_error::{FieldErrors, disallowed_fields};
use serde::Serialize;
use serde_json::Value;

/// Fields that are no pointers in Kubernetes' own types: their zero is the same as nothing.
const PLAIN: [&str; 12] = [
    "failureThreshold",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "periodSeconds",
    "stdin",
    "stdinOnce",
    "successThreshold",
    "timeoutSeconds",
    "tty",
];

/// The set fields of `object` that are not among `allowed`, as one diagnostic.
pub(super) fn disallowed<T: Serialize>(object: &T, allowed: &[&str]) -> FieldErrors {
    let Ok(Value::Object(fields)) = serde_json::to_value(object) else { return FieldErrors::none() };
    let refused: Vec<String> = fields
        .into_iter()
        .filter(|(name, value)| !allowed.contains(&name.as_str()) && is_set(name, value))
        .map(|(name, _)| name)
        .collect();
    if refused.is_empty() { FieldErrors::none() } else { disallowed_fields(refused) }
}

fn is_set(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Bool(false) => !PLAIN.contains(&name),
        Value::Number(number) => number.as_i64() != Some(0) || !PLAIN.contains(&name),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !(fields.is_empty() && MAPS.contains(&name)),
        Value::Bool(true) => true,
    }
}
