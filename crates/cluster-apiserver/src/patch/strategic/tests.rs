use serde_json::{Value, json};

use super::*;
use crate::facts;

/// What apimachinery's `strategicpatch` makes of pairs of objects and patches.
///
/// A line of `testdata/strategic.jsonl` has `object` (if another than in the line before), `patch`, and `result` or
/// `error`.
#[test]
fn patches_end_as_recorded() {
    let mut object = Value::Null;
    let mut wrong = Vec::new();
    for (number, line) in include_str!("../../../testdata/strategic.jsonl").lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["object"].is_object() {
            object = case["object"].clone();
        }
        let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let of = facts::type_of_kind(group, version, kind).unwrap();
        let found = apply(of, &object, &case["patch"]);
        let (found, expected) = match found {
            Ok(result) => (result, case["result"].clone()),
            Err(error) => (Value::from(error.to_string()), case["error"].clone()),
        };
        if found != expected {
            wrong.push(format!("line {}: {}\n    {found}\n    {expected}", number + 1, case["patch"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_no_map_is_refused() {
    let of = facts::type_of_kind("", "v1", "Pod").unwrap();
    let error = apply(of, &json!({}), &json!([])).unwrap_err();
    assert_eq!(error.to_string(), "expected a map[string]interface {}, but received a []interface {}");
    assert!(apply(of, &json!(1), &json!({})).is_err());
}
