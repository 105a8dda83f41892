//! Creates and updates as the strategies of kube-apiserver 1.37.2 answer them.
//!
//! A line of `testdata/rules.jsonl` is a create (`create`: the object) or an update (`old`: the object before, if another
//! than in the line before; `change`: a merge patch that makes the new one; `subresource`), and what comes of it:
//! `errors`, or `result` (a merge patch from the object before) and `warnings`. Values inside errors are written as Kwick
//! writes them, where Go would print one of its structs.

use serde_json::{Map, Value, json};

use crate::{
    facts,
    field_error::FieldError,
    kinds::{self, Kind},
    strict,
    value::{as_object, str_at},
};

fn load(object: &Value) -> (&'static Kind, Value) {
    let api_version = str_at(object, &["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = kinds::find_by_kind(group, version, str_at(object, &["kind"])).unwrap();
    let of = facts::type_of_kind(group, version, kind.kind).unwrap();
    let mut object = strict::decode_value(of, object).unwrap().value;
    kind.strategy.default(&mut object);
    (kind, object)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = as_object(target);
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Without what is empty, which Go's structs do not tell from absent.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| (name.clone(), value));
            let is_something = |value: &Value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => true,
            };
            let kept = entries.filter(|(_, value)| is_something(value)).map(|(name, value)| (name, clean(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(clean).collect(),
        other => other.clone(),
    }
}

fn texts(errors: &[FieldError]) -> Value {
    errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn creates_and_updates_end_as_recorded() {
    let lines = include_str!("../../testdata/rules.jsonl").lines();
    let mut before = Value::Null;
    let mut wrong = Vec::new();
    for (number, line) in lines.enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (base, outcome, object) = if case["create"].is_object() {
            let (kind, mut object) = load(&case["create"]);
            object["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
            object["metadata"]["creationTimestamp"] = json!("2023-11-14T22:13:20Z");
            (case["create"].clone(), kinds::before_create(kind, &mut object), object)
        } else {
            if case["old"].is_object() {
                before = case["old"].clone();
            }
            let mut new = clean(&before);
            merge(&mut new, &case["change"]);
            let (kind, mut object) = load(&new);
            let (_, old) = load(&before);
            let outcome = kinds::before_update(kind, &mut object, &old, case["subresource"].as_str());
            (before.clone(), outcome, object)
        };
        let (found, expected) = match outcome {
            Err(errors) => (texts(&errors), case["errors"].clone()),
            Ok(warnings) => {
                let mut expected = clean(&base);
                merge(&mut expected, &case["result"]);
                let mut object = object;
                strict::canonicalize(&mut object);
                let expected_warnings = case["warnings"].as_array().cloned().unwrap_or_default();
                (json!([clean(&object), warnings]), json!([expected, expected_warnings]))
            }
        };
        if found != expected {
            wrong.push(format!("line {}: {found}\nexpected {expected}", number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
