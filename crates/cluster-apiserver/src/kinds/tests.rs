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

/// Where `object` is refused, in order.
fn refused_at(object: &Value) -> Vec<String> {
    let (kind, mut object) = load(object);
    kinds::before_create(kind, &mut object).unwrap_err().into_iter().map(|error| error.field).collect()
}

#[test]
fn what_is_there_more_than_once_is_told_each_time() {
    let thrice = |item: Value| vec![item; 3];
    let named = |name: &str| json!({"name": name});
    let constraint =
        json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
    let device = json!({"name": "v", "devicePath": "/v"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {
        "securityContext": {"sysctls": thrice(json!({"name": "kernel.shm_rmid_forced", "value": "0"}))},
        "schedulingGates": thrice(named("example.com/gate")),
        "topologySpreadConstraints": thrice(constraint),
        "resourceClaims": [{"name": "known", "resourceClaimName": "c"}],
        "volumes": thrice(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})),
        "containers": [{
            "name": "c", "image": "i", "resources": {"claims": [named("known"), named("known"), named("other")]},
            "volumeDevices": [device, device], "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w"}],
        }],
    }});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": {
        "type": "NodePort", "ipFamilies": ["IPv4", "IPv4"],
        "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30080}, {"name": "c", "port": 80}],
    }});
    let hook = json!({
        "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1", "v1", "v1beta1"],
        "clientConfig": {"url": "https://example.com"},
    });
    let hooks = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w"},
        "webhooks": [hook, hook],
    });
    let taint = |effect: &str| json!({"key": "k", "effect": effect});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {
        "taints": [taint("NoSchedule"), taint("NoExecute"), taint("NoSchedule")],
    }});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s", "namespace": "n"},
        "addressType": "IPv4", "endpoints": [], "ports": [{"name": "a"}, {"name": ""}, {"name": "a"}, {"name": ""}],
    });
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "namespace": "n"}, "spec": {
        "limits": thrice(json!({"type": "Container"})),
    }});
    let inside =
        |prefix: &str, rest: &[&str]| -> Vec<String> { rest.iter().map(|rest| format!("{prefix}{rest}")).collect() };
    let mut of_pod = inside("spec.volumes", &["[1].name", "[2].name"]);
    let mounts = ["Mounts[0].name", "Mounts[0].mountPath", "Mounts[1].name"];
    let devices = ["Devices[0].name", "Devices[0].devicePath"];
    let more_devices = ["Devices[1].name", "Devices[1].devicePath"];
    of_pod.extend(inside("spec.containers[0].volume", &[&mounts[..], &devices, &more_devices, &more_devices].concat()));
    of_pod.extend(inside("spec.containers[0].resources.claims", &["[1]", "[2]"]));
    of_pod.extend(inside("spec.securityContext.sysctls", &["[1].name", "[2].name"]));
    of_pod.extend(inside("spec.schedulingGates", &["[1]", "[2]"]));
    let pair = "{topologyKey, whenUnsatisfiable}";
    of_pod.extend(inside("spec.topologySpreadConstraints", &[&format!("[0].{pair}"), &format!("[1].{pair}")]));
    assert_eq!(refused_at(&pod), of_pod);
    assert_eq!(refused_at(&service), inside("spec.", &["ipFamilies[1]", "ports[1].nodePort", "ports[2]"]));
    let versions = ["[0].admissionReviewVersions[1]", "[1].admissionReviewVersions[1]", "[1].name"];
    assert_eq!(refused_at(&hooks), inside("webhooks", &versions));
    assert_eq!(refused_at(&node), ["metadata.taints[2]"]);
    assert_eq!(refused_at(&slice), inside("ports", &["[2].name", "[3].name"]));
    assert_eq!(refused_at(&limits), inside("spec.limits", &["[1].type", "[2].type"]));
}
