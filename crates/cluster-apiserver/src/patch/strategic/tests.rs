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
        let found = apply(of, &object, &mut case["patch"].clone());
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
    let error = apply(of, &json!({}), &mut json!([])).unwrap_err();
    assert_eq!(error.to_string(), "expected a map[string]interface {}, but received a []interface {}");
    assert!(apply(of, &json!(1), &mut json!({})).is_err());
}

#[test]
fn what_is_left_of_a_patch_is_what_kubernetes_shows() {
    let of = facts::type_of_kind("apps", "v1", "Deployment").unwrap();
    let old = json!({"spec": {"paused": true, "strategy": {"type": "Recreate"}, "template": {"spec": {"containers": [{"name": "a"}]}}}});
    for (mut patch, left) in [
        (json!({"metadata": {"labels": {"a": null, "b": 1}}}), json!({"metadata": {"labels": {"b": 1}}})),
        (json!({"spec": {"paused": null, "replicas": null}}), json!({"spec": {"paused": null, "replicas": null}})),
        (
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "RollingUpdate", "rollingUpdate": null}}}),
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": null}}}),
        ),
        (
            json!({"spec": {"strategy": {"$patch": "replace", "type": "x"}}}),
            json!({"spec": {"strategy": {"type": "x"}}}),
        ),
        (json!({"spec": {"strategy": {"$patch": "delete"}}}), json!({"spec": {"strategy": {"$patch": "delete"}}})),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": null}]}, {"name": "b", "tty": null}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{}]}, {"name": "b", "tty": null}]}}}}),
        ),
        (
            json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a"}]}}}}),
            json!({"spec": {"template": {"spec": {}}}}),
        ),
    ] {
        apply(of, &old, &mut patch).unwrap();
        assert_eq!(patch, left);
    }
}

#[test]
fn a_large_merge_takes_no_longer_than_its_size_says() {
    const ITEMS: usize = 20_000;
    let of = facts::type_of_kind("", "v1", "Pod").unwrap();
    let variables = |from: usize| -> Vec<Value> {
        (from..from + ITEMS).map(|n| json!({"name": format!("v{n}"), "value": "x"})).collect()
    };
    let pod = |env: Vec<Value>| json!({"spec": {"containers": [{"name": "c", "env": env}]}});
    let old = pod(variables(0));
    let mut patch = pod(variables(ITEMS / 2));
    patch["spec"]["containers"][0]["$setElementOrder/env"] =
        (0..ITEMS * 3 / 2).rev().map(|n| json!({"name": format!("v{n}")})).collect();
    patch["spec"]["containers"][0]["env"].as_array_mut().unwrap().reverse();
    let merged = apply(of, &old, &mut patch).unwrap();
    let env = merged["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!((env.len(), &env[0]["name"]), (ITEMS * 3 / 2, &json!(format!("v{}", ITEMS * 3 / 2 - 1))));
    let gone: Vec<Value> = (0..ITEMS).map(|n| json!({"$patch": "delete", "name": format!("v{n}")})).collect();
    let emptied = apply(of, &old, &mut pod(gone)).unwrap();
    assert_eq!(emptied["spec"]["containers"][0]["env"], json!([]));
}
