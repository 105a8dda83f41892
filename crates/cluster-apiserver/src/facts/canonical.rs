//! The canonical form of an object: what remains of JSON after it has been a Go struct and is JSON again.
//!
//! Kubernetes' own server decodes bodies into structs, keeps them, and encodes them for every answer. Clients see the
//! traces: unknown fields and `null`s are gone, an empty list is no list, quantities and times have one spelling, and
//! fields without `omitempty` are there even if nobody set them (`status: {}`, `resources: {}`). Two bodies that mean
//! the same have the same canonical form; that is how a write that changes nothing is recognised, and what the rest of
//! this crate may rely on.
//!
//! The decoders build the values; this module knows what an absent field leaves behind ([`zero`]) and which values are
//! dropped ([`finish`]).

use serde_json::{Map, Value};

use super::{Field, Shape, Type, ValueKind};

/// What stands in the canonical form for a field that is not set; `None` if nothing does.
pub fn zero(field: Field) -> Option<Value> {
    let is_nil = field.is_pointer() || field.shape() != Shape::One;
    if field.omits_zero() || (field.omits_empty() && (is_nil || !is_struct(field.value_kind()))) {
        return None;
    }
    Some(if is_nil { Value::Null } else { zero_item(field) })
}

/// The value of one item of a list or map that was `null`.
pub fn zero_item(field: Field) -> Value {
    match field.value_kind() {
        ValueKind::Bool => Value::Bool(false),
        ValueKind::Int32 | ValueKind::Int64 | ValueKind::Float64 | ValueKind::IntOrString => Value::from(0),
        ValueKind::String => Value::from(""),
        ValueKind::Quantity => Value::from("0"),
        ValueKind::SchemaOrBool => Value::Bool(false),
        ValueKind::Message => field.message().map_or(Value::Null, zero_message),
        ValueKind::Bytes
        | ValueKind::Time
        | ValueKind::MicroTime
        | ValueKind::RawExtension
        | ValueKind::FieldsV1
        | ValueKind::Json
        | ValueKind::SchemaOrArray
        | ValueKind::SchemaOrStringArray
        | ValueKind::StringList => Value::Null,
    }
}

/// A message none of whose fields is set.
pub fn zero_message(of: Type) -> Value {
    let mut map = Map::new();
    finish(of, &mut map);
    Value::Object(map)
}

/// Completes a message whose set fields are in `map`: drops what is empty, adds what is always there.
pub fn finish(of: Type, map: &mut Map<String, Value>) {
    for field in of.fields() {
        let is_set = map.get(field.name()).is_some_and(|value| !is_unset(field, value));
        if is_set {
            continue;
        }
        match zero(field) {
            Some(value) => {
                map.insert(field.name().to_owned(), value);
            }
            None => {
                map.remove(field.name());
            }
        }
    }
}

/// Whether a value is what a field has when it is not set.
fn is_unset(field: Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => field.shape() == Shape::List && items.is_empty(),
        Value::Object(map) if field.shape() == Shape::Map => map.is_empty(),
        Value::Object(_) => field.omits_zero() && !field.is_pointer() && *value == zero_item(field),
        _ if field.is_pointer() || field.shape() != Shape::One || is_struct(field.value_kind()) => false,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
    }
}

/// Whether Go keeps the kind in a struct, which `omitempty` never leaves out.
fn is_struct(kind: ValueKind) -> bool {
    !matches!(
        kind,
        ValueKind::Bool
            | ValueKind::Int32
            | ValueKind::Int64
            | ValueKind::Float64
            | ValueKind::String
            | ValueKind::Bytes
            | ValueKind::StringList
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::type_of_kind;

    #[test]
    fn what_is_always_there() {
        let zero = |group, kind| zero_message(type_of_kind(group, "v1", kind).expect(kind));
        assert_eq!(zero("", "ConfigMap"), json!({"metadata": {}}));
        assert_eq!(
            zero("apps", "Deployment"),
            json!({
                "metadata": {},
                "spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}},
                "status": {}
            })
        );
        assert_eq!(
            zero("", "Event"),
            json!({
                "metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
                "eventTime": null, "reportingComponent": "", "reportingInstance": ""
            })
        );
    }

    #[test]
    fn what_is_dropped() {
        let of = type_of_kind("apps", "v1", "Deployment").expect("Deployment");
        let spec = of.field("spec").and_then(Field::message).expect("spec");
        let value =
            json!({"replicas": 0, "paused": false, "minReadySeconds": 0, "selector": {"matchLabels": {"a": "b"}}});
        let Value::Object(mut map) = value else { unreachable!() };
        finish(spec, &mut map);
        assert!(map.contains_key("replicas"), "a pointer keeps its zero");
        assert!(!map.contains_key("paused") && !map.contains_key("minReadySeconds"));
    }
}
