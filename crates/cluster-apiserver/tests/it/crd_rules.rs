//! Rules in CEL, and schemas that change while objects exist.

use serde_json::{Value, json};

use crate::support::{Harness, Raw, eventually};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/g.io/v1/namespaces/default/widgets";

fn crd(spec: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.g.io"},
        "spec": {
            "group": "g.io", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {
                    "type": "object", "properties": {"n": {"type": "integer"}},
                    "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "n may not shrink"}],
                }}},
            }}],
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "g.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn establish(raw: &Raw, spec: Value) {
    let made = raw.post(CRDS, &crd(spec)).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert!(made.headers.get("warning").is_none(), "{:?}", made.headers);
    eventually("the CRD is served", || async { raw.get(WIDGETS).await.status == 200 }).await;
}

#[tokio::test(start_paused = true)]
async fn rules_hold_for_objects_and_their_status() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(
        &raw,
        json!({"type": "object", "properties": {
            "min": {"type": "integer", "default": 1}, "max": {"type": "integer"},
            "class": {"type": "string", "maxLength": 64, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "class is immutable"}]},
        }, "x-kubernetes-validations": [
            {"rule": "!has(self.max) || self.min <= self.max", "messageExpression": "self.min == 1 ? 'min 1 > max' : 'min > max'", "fieldPath": ".min"},
        ]}),
    )
    .await;
    let refused = raw.post(WIDGETS, &widget("a", json!({"max": 0}))).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.message(), "Widget.g.io \"a\" is invalid: spec.min: Invalid value: min 1 > max");
    assert_eq!(raw.post(WIDGETS, &widget("a", json!({"max": 5, "class": "x"}))).await.status, 201);
    let path = format!("{WIDGETS}/a");
    let refused = raw.merge(&path, &json!({"spec": {"class": "y"}})).await;
    assert_eq!(refused.message(), "Widget.g.io \"a\" is invalid: spec.class: Invalid value: \"y\": class is immutable");
    assert_eq!(raw.merge(&path, &json!({"spec": {"min": 3}})).await.status, 200);
    let status = format!("{path}/status");
    assert_eq!(raw.merge(&status, &json!({"status": {"n": 5}})).await.status, 200);
    let refused = raw.merge(&status, &json!({"status": {"n": 4}})).await;
    assert_eq!(refused.message(), "Widget.g.io \"a\" is invalid: status: Invalid value: n may not shrink");
}

#[tokio::test(start_paused = true)]
async fn rules_that_make_no_sense_are_refused() {
    let harness = Harness::start().await;
    let rule = json!([{"rule": "self.nope > 1"}]);
    let refused = harness.raw().post(CRDS, &crd(json!({"type": "object", "x-kubernetes-validations": rule}))).await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.message(),
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.g.io\" is invalid: \
         spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: \
         {\"rule\":\"self.nope \\u003e 1\"}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_later_schema_forbids_may_stay() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}})).await;
    assert_eq!(raw.post(WIDGETS, &widget("w", json!({"a": "long", "b": "long"}))).await.status, 201);
    let mut newer = raw.get(&format!("{CRDS}/widgets.g.io")).await.json();
    let fields = &mut newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    fields["a"]["maxLength"] = json!(2);
    fields["b"]["x-kubernetes-validations"] = json!([{"rule": "self.size() < 3"}]);
    let changed = raw.put(&format!("{CRDS}/widgets.g.io"), &newer).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    let path = format!("{WIDGETS}/w");
    let labelled = raw.merge(&path, &json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(labelled.status, 200, "{}", labelled.message());
    assert_eq!(
        labelled.headers["warning"],
        "299 - \"spec.b: Invalid value: \\\"long\\\": failed rule: self.size() < 3\""
    );
    let refused = raw.merge(&path, &json!({"spec": {"a": "other"}})).await;
    assert!(refused.message().contains("spec.a: Too long: may not be more than 2 bytes"), "{}", refused.message());
    let refused = raw.merge(&path, &json!({"spec": {"b": "other"}})).await;
    assert!(
        refused.message().contains("spec.b: Invalid value: \"other\": failed rule: self.size() < 3"),
        "{}",
        refused.message()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_cannot_keep_the_server_busy() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let list = json!({"type": "array", "maxItems": 1000, "items": {"type": "integer"}});
    let rule = json!([{"rule": "self.l.all(x, self.l.exists(y, x + y == -1) || self.l.all(z, z + x != -2))"}]);
    let spec = |rule: &Value| json!({"type": "object", "properties": {"l": list}, "x-kubernetes-validations": rule});
    let refused = raw.post(CRDS, &crd(spec(&rule))).await;
    assert!(
        refused.message().contains("estimated rule cost exceeds budget by factor of 1.5x"),
        "{}",
        refused.message()
    );
    let rule = json!([{"rule": "self.l.all(x, self.l.all(y, x + y != -1))"}]);
    establish(&raw, spec(&rule)).await;
    let many: Vec<i32> = (0..1000).collect();
    let refused = raw.post(WIDGETS, &widget("w", json!({"l": many}))).await;
    assert_eq!(refused.status, 422);
    assert!(refused.message().contains("call cost exceeds limit for rule: self.l.all"), "{}", refused.message());
    let few: Vec<i32> = (0..100).collect();
    assert_eq!(raw.post(WIDGETS, &widget("w", json!({"l": few}))).await.status, 201);
}
