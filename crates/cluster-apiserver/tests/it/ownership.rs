//! Who owns what: managedFields through every kind of write, and server-side apply.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Answer, BOB_TOKEN, CONFIG_MAPS, Harness, Raw, config_map, eventually};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";

async fn apply(raw: &Raw, path: &str, query: &str, body: &Value) -> Answer {
    raw.request(Method::PATCH, &format!("{path}?{query}"), APPLY, body).await
}

/// What each manager owns, by name, operation and subresource.
fn owners(object: &Value) -> Value {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let entries = entries.map(|entry| {
        let key = [text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")].join(" ");
        (key.trim().to_owned(), entry["fieldsV1"].clone())
    });
    Value::Object(entries.collect())
}

fn map_of(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "env": [{"name": "E", "value": "1"}], "ports": [{"containerPort": 80}]},
            ]}},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn every_write_is_tracked() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{CONFIG_MAPS}/a");
    raw.post(&format!("{CONFIG_MAPS}?fieldManager=maker"), &config_map("a")).await;
    let request = Request::patch(&path).header("user-agent", "tool/1.0 (linux)");
    let request = request.header("content-type", "application/merge-patch+json");
    let patched = raw.send(request.body(Full::from("{\"data\":{\"b\":\"c\"}}")).expect("request")).await.json();
    let data = |fields: Value| json!({"f:data": fields});
    assert_eq!(
        owners(&patched),
        json!({"maker Update": data(json!({".": {}, "f:a": {}})), "tool Update": data(json!({"f:b": {}}))})
    );
    assert_eq!(patched["metadata"]["managedFields"][0]["time"], "2024-01-01T00:00:00Z");
    // Left out means kept; what is changed changes hands, and what is removed is nobody's.
    let replaced = raw.put(&format!("{path}?fieldManager=other"), &map_of("a", json!({"a": "x"}))).await.json();
    assert_eq!(owners(&replaced), json!({"maker Update": data(json!({})), "other Update": data(json!({"f:a": {}}))}));
    // A write that changes nothing leaves no trace.
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let same = raw.put(&format!("{path}?fieldManager=third"), &replaced).await.json();
    assert_eq!(same, replaced);
    // The list can be cleared, and then nobody is told of any more.
    let cleared = raw.merge(&path, &json!({"metadata": {"managedFields": [{}]}})).await.json();
    assert_eq!(cleared["metadata"]["managedFields"], Value::Null);
    assert_eq!(raw.merge(&path, &json!({"data": {"c": "d"}})).await.json()["metadata"]["managedFields"], Value::Null);
    let empty = json!([{"op": "replace", "path": "/metadata/managedFields", "value": []}]);
    raw.post(CONFIG_MAPS, &config_map("b")).await;
    let path = format!("{CONFIG_MAPS}/b");
    let cleared = raw.request(Method::PATCH, &path, "application/json-patch+json", &empty).await.json();
    assert_eq!(cleared["metadata"]["managedFields"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn subresources_own_their_part() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{DEPLOYMENTS}/d");
    raw.post(&format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment()).await;
    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}, "metadata": {"managedFields": [{}]}});
    let written = raw.merge(&format!("{path}/status?fieldManager=kubelet"), &status).await.json();
    assert_eq!(owners(&written)["kubelet Update status"], json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(owners(&written)["maker Update"]["f:spec"]["f:replicas"], json!({}));
    let scale = json!({"spec": {"replicas": 3}});
    let scaled = raw.merge(&format!("{path}/scale?fieldManager=scaler"), &scale).await.json();
    assert_eq!(scaled["metadata"]["managedFields"], Value::Null);
    let object = raw.get(&path).await.json();
    assert_eq!(owners(&object)["scaler Update scale"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owners(&object)["maker Update"]["f:spec"]["f:replicas"], Value::Null);
    raw.merge(&format!("{path}/scale?fieldManager=another"), &scale).await;
    assert_eq!(raw.get(&path).await.json(), object, "the same scale changes nothing");
    // An apply of a scale conflicts with whoever has set it.
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}});
    let refused = apply(&raw, &format!("{path}/scale"), "fieldManager=m", &scale).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message().as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using autoscaling/v1: \
             .spec.replicas"
        )
    );
    let forced = apply(&raw, &format!("{path}/scale"), "fieldManager=m&force=true", &scale).await;
    assert_eq!(forced.json()["spec"]["replicas"], 4);
    assert_eq!(owners(&raw.get(&path).await.json())["m Apply scale"], json!({"f:spec": {"f:replicas": {}}}));
    // So does an apply of a status, which creates nothing.
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"paused": true}, "status": {"replicas": 2}});
    let refused = apply(&raw, &format!("{path}/status"), "fieldManager=m", &status).await;
    assert_eq!(refused.json()["details"]["causes"][0]["field"], ".status.replicas");
    let forced = apply(&raw, &format!("{path}/status"), "fieldManager=m&force=true", &status).await.json();
    assert_eq!(owners(&forced)["m Apply status"], json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(forced["spec"]["paused"], Value::Null);
    assert_eq!(apply(&raw, &format!("{DEPLOYMENTS}/none/status"), "fieldManager=m", &status).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn an_apply_creates_merges_and_prunes() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{DEPLOYMENTS}/d");
    let dry = apply(&raw, &path, "fieldManager=m&dryRun=All", &deployment()).await;
    assert_eq!((dry.status.as_u16(), raw.get(&path).await.status.as_u16()), (201, 404));
    let created = apply(&raw, &path, "fieldManager=m", &deployment()).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let container = json!({".": {}, "f:name": {}, "f:image": {}, "f:env": {"k:{\"name\":\"E\"}": {".": {}, "f:name": {}, "f:value": {}}},
        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}});
    let template =
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": container}}});
    assert_eq!(
        owners(&created),
        json!({"m Apply": {"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": template}}})
    );
    let same = apply(&raw, &path, "fieldManager=m", &deployment()).await;
    assert_eq!((same.status.as_u16(), same.json()), (200, created));
    // Somebody adds a variable; it stays when the applier's own goes.
    let more =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "F", "value": "1"}]}]}}}});
    let more = raw.request(Method::PATCH, &path, "application/strategic-merge-patch+json", &more).await;
    assert_eq!(more.status, 200);
    let mut next = deployment();
    next["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "G", "value": "1"}]);
    let next = apply(&raw, &path, "fieldManager=m", &next).await.json();
    let env = &next["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(*env, json!([{"name": "F", "value": "1"}, {"name": "G", "value": "1"}]));
    // Another takes replicas by force, and whoever leaves them out then gives them up in silence.
    let replicas =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 5}});
    assert_eq!(apply(&raw, &path, "fieldManager=hpa", &replicas).await.status, 409);
    let taken = apply(&raw, &path, "fieldManager=hpa&force=true", &replicas).await.json();
    assert_eq!(taken["spec"]["replicas"], 5);
    assert_eq!(owners(&taken)["m Apply"]["f:spec"]["f:replicas"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_applied_says_why() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{CONFIG_MAPS}/x");
    let config = map_of("x", json!({"a": "1"}));
    let patched = |change: Value| {
        let mut config = config.clone();
        json_patch::merge(&mut config, &change);
        config
    };
    for (query, body, code, message) in [
        (
            "",
            config.clone(),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("fieldManager=m", json!({}), 400, "invalid object type: /, Kind="),
        ("fieldManager=m", patched(json!({"kind": "Secret"})), 400, "invalid object type: /v1, Kind=Secret"),
        (
            "fieldManager=m",
            patched(json!({"metadata": {"managedFields": []}})),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "fieldManager=m",
            patched(json!({"zzz": 1})),
            500,
            "failed to create typed patch object (/x; /v1, Kind=ConfigMap): .zzz: field not declared in schema",
        ),
        (
            "fieldManager=m",
            patched(json!({"metadata": {"name": "y"}})),
            400,
            "the name of the object (y) does not match the name on the URL (x)",
        ),
        (
            "fieldManager=m",
            patched(json!({"metadata": {"name": null}})),
            400,
            "the name of the object (x based on URL) was undeterminable: name must be provided",
        ),
        (
            "fieldManager=m",
            patched(json!({"metadata": {"uid": "u"}})),
            409,
            "Operation cannot be fulfilled on configmaps \"x\": uid mismatch: the provided object specified uid u, \
             and no existing object was found",
        ),
        (
            "fieldManager=m",
            patched(json!({"metadata": {"namespace": "other"}})),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let refused = apply(&raw, &path, query, &body).await;
        assert_eq!((refused.status.as_u16(), refused.message().as_str()), (code, message), "{body}");
    }
    let long = format!("fieldManager={}", "m".repeat(129));
    assert_eq!(apply(&raw, &path, &long, &config).await.status, 422);
    let cbor = raw.request(Method::PATCH, &path, "application/apply-patch+cbor", &config).await;
    assert_eq!(cbor.status, 415);
    let merge = raw.merge(&format!("{path}?force=false"), &json!({})).await;
    assert_eq!(merge.status, 422, "force is for an apply only");
    let forbidden = apply(&harness.with_token(BOB_TOKEN), &path, "fieldManager=m", &config).await;
    assert_eq!(forbidden.status, 403);
    // A revision that is given must be the present one.
    apply(&raw, &path, "fieldManager=m", &config).await;
    let stale = apply(&raw, &path, "fieldManager=m", &patched(json!({"metadata": {"resourceVersion": "1"}}))).await;
    assert!(stale.message().contains("the object has been modified"), "{}", stale.message());
    // Conflicts with several managers are listed by manager.
    raw.merge(&format!("{path}?fieldManager=u"), &json!({"data": {"b": "1", "c": "1"}})).await;
    let refused = apply(&raw, &path, "fieldManager=n", &map_of("x", json!({"a": "2", "b": "2", "c": "2"}))).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 3 conflicts: conflicts with \"m\":\n- .data.a\nconflicts with \"u\" using v1:\n- .data.b\n- .data.c"
    );
    // What stands twice is refused, warned of, or nobody's business.
    let twice = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"},\"data\":{\"a\":\"1\",\"a\":\"1\"}}";
    for (validation, code, warnings) in [("Strict", 400, 0), ("Warn", 200, 1), ("Ignore", 200, 0)] {
        let uri = format!("{path}?fieldManager=m&fieldValidation={validation}");
        let request = Request::patch(uri).header("content-type", APPLY).body(Full::from(twice)).expect("request");
        let answer = raw.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get_all("warning").iter().count()), (code, warnings));
    }
    let nameless = raw.merge(&path, &json!({"metadata": null})).await;
    assert_eq!(nameless.status, 400, "{}", nameless.message());
    // YAML is read as well.
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata:\n  a: '1'\n";
    let request = Request::patch(format!("{CONFIG_MAPS}/yaml?fieldManager=m")).header("content-type", APPLY);
    let created = raw.send(request.body(Full::from(yaml)).expect("request")).await;
    assert_eq!(created.status, 201, "{}", created.message());
}

#[tokio::test(start_paused = true)]
async fn kubectl_takes_over_what_it_applied_before_servers_could() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let path = format!("{CONFIG_MAPS}/x");
    let old = map_of("x", json!({"a": "1", "gone": "1"}));
    let mut with_annotation = old.clone();
    with_annotation["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": old.to_string()});
    raw.post(&format!("{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply"), &with_annotation).await;
    let new = map_of("x", json!({"a": "2"}));
    assert_eq!(apply(&raw, &path, "fieldManager=somebody", &new).await.status, 409);
    let taken = apply(&raw, &path, "fieldManager=kubectl", &new).await;
    assert_eq!(taken.status, 200, "{}", taken.message());
    let taken = taken.json();
    assert_eq!(taken["data"], json!({"a": "2", "gone": "1"}));
    let annotation = &taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(*annotation, json!(format!("{new}\n")));
    // Then it moves its entry from one operation to the other, and what it applies no more goes.
    let managed = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{
        "manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": "2024-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}, "f:gone": {}}},
    }]}]);
    let moved = raw.request(Method::PATCH, &path, "application/json-patch+json", &managed).await.json();
    assert_eq!(owners(&moved), json!({"kubectl Apply": {"f:data": {"f:a": {}, "f:gone": {}}}}));
    assert_eq!(apply(&raw, &path, "fieldManager=kubectl", &new).await.json()["data"], json!({"a": "2"}));
}

#[tokio::test(start_paused = true)]
async fn custom_objects_are_owned_by_their_schema() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let text = json!({"type": "string"});
    let list = |kind: &str| json!({"type": "array", "x-kubernetes-list-type": kind, "items": text});
    let spec = json!({"type": "object", "properties": {
        "set": list("set"), "atomic": list("atomic"),
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
    }});
    let version = |name: &str, is_storage: bool| {
        json!({"name": name, "served": true, "storage": is_storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}})
    };
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.g.io"},
        "spec": {"group": "g.io", "names": {"plural": "foos", "kind": "Foo"}, "scope": "Namespaced",
                 "versions": [version("v1", true), version("v2", false)]},
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(apply(&raw, &format!("{crds}/foos.g.io"), "fieldManager=m", &crd).await.status, 201);
    let path = "/apis/g.io/v1/namespaces/default/foos/f";
    let foo = |version: &str, spec: Value| json!({"apiVersion": format!("g.io/{version}"), "kind": "Foo", "metadata": {"name": "f"}, "spec": spec});
    let all = json!({"set": ["a", "b"], "atomic": ["x"], "any": {"k": {"l": 1}}, "whole": {"k": "v"}});
    eventually("served", async || {
        apply(&raw, path, "fieldManager=m", &foo("v1", all.clone())).await.status.is_success()
    })
    .await;
    let established = raw.get(&format!("{crds}/foos.g.io")).await.json();
    assert!(owners(&established).get("kube-apiserver Update status").is_some(), "{}", owners(&established));
    let object = raw.get(path).await.json();
    assert_eq!(
        owners(&object)["m Apply"]["f:spec"],
        json!({"f:set": {"v:\"a\"": {}, "v:\"b\"": {}}, "f:atomic": {}, "f:any": {"f:k": {".": {}, "f:l": {}}}, "f:whole": {}})
    );
    // Through another version it is the same owner of the same fields.
    let v2 = "/apis/g.io/v2/namespaces/default/foos/f";
    let applied = apply(&raw, v2, "fieldManager=m", &foo("v2", json!({"set": ["b", "c"]}))).await.json();
    assert_eq!(applied["spec"], json!({"set": ["b", "c"]}));
    assert_eq!(owners(&applied)["m Apply"]["f:spec"], json!({"f:set": {"v:\"b\"": {}, "v:\"c\"": {}}}));
    let refused = apply(&raw, v2, "fieldManager=n", &foo("v2", json!({"set": {"a": 1}}))).await;
    assert_eq!(refused.status, 500);
    let refused = apply(&raw, path, "fieldManager=n", &foo("v1", json!({"none": 1}))).await;
    assert_eq!(
        refused.message(),
        "failed to create typed patch object (/f; g.io/v1, Kind=Foo): .spec.none: field not declared in schema"
    );
}
