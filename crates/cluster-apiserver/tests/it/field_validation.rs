//! `fieldValidation`, for every way that an object comes: what is unknown or twice there is refused, warned of or dropped.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::support::{Answer, Harness, Raw, eventually};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/g.io/v1/namespaces/default/gadgets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

async fn send(raw: &Raw, method: &Method, path: &str, media_type: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    raw.send(request.body(Full::new(body.to_owned().into())).expect("request")).await
}

/// Sends one body strictly, with warnings and without; `wanted` is what stands in the refusal and the warnings.
async fn thrice(raw: &Raw, method: Method, path: &str, media_type: &str, body: &str, wanted: &[&str]) {
    let query = if media_type == APPLY { "&fieldManager=m&force=true" } else { "" };
    let with = |how: &str| format!("{path}?dryRun=All&fieldValidation={how}{query}");
    let what = format!("{method} {path} {media_type} {body}");
    let strict = send(raw, &method, &with("Strict"), media_type, body).await;
    assert!(matches!(strict.status.as_u16(), 400 | 422), "{what}: {}", strict.status);
    for part in wanted {
        assert!(strict.message().contains(part), "{what}: {}", strict.message());
    }
    let warned = send(raw, &method, &with("Warn"), media_type, body).await;
    assert!(warned.status.is_success(), "{what}: {}", warned.message());
    let warnings: Vec<&str> = warned.headers.get_all("warning").iter().map(|v| v.to_str().expect("text")).collect();
    for part in wanted {
        let part = part.replace('"', "\\\"");
        assert!(warnings.iter().any(|warning| warning.contains(&part)), "{what}: {warnings:?}");
    }
    let ignored = send(raw, &method, &with("Ignore"), media_type, body).await;
    assert!(ignored.status.is_success(), "{what}: {}", ignored.message());
    assert!(!ignored.headers.contains_key("warning"), "{what}");
    assert!(!String::from_utf8_lossy(&ignored.bytes).contains("unknownField"), "{what}");
}

async fn establish(raw: &Raw) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string"}, "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
    }}}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.g.io"},
        "spec": {"group": "g.io", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
        ]},
    });
    assert_eq!(raw.post(CRDS, &crd).await.status, 201);
    eventually("the CRD is served", || async { raw.get(GADGETS).await.status == 200 }).await;
    let made = raw
        .post(GADGETS, &json!({"apiVersion": "g.io/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {}}))
        .await;
    assert_eq!(made.status, 201);
}

fn deployment(more: &str) -> String {
    let template = r#""template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i""#;
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},{template}{more}}}]}}}}}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn built_in_kinds() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let unknown = ["unknown field \"spec.template.spec.containers[0].unknownField\""];
    let json = "application/json";
    let body = deployment(r#","unknownField":1"#);
    thrice(&raw, Method::POST, DEPLOYMENTS, json, &body, &unknown).await;
    thrice(&raw, Method::POST, DEPLOYMENTS, "application/yaml", &body, &unknown).await;
    let twice = deployment(r#","image":"j""#);
    thrice(
        &raw,
        Method::POST,
        DEPLOYMENTS,
        json,
        &twice,
        &["duplicate field \"spec.template.spec.containers[0].image\""],
    )
    .await;
    thrice(&raw, Method::POST, DEPLOYMENTS, "application/yaml", &twice, &["key \"image\" already set in map"]).await;
    assert_eq!(send(&raw, &Method::POST, DEPLOYMENTS, json, &deployment("")).await.status, 201);
    let path = format!("{DEPLOYMENTS}/d");
    thrice(&raw, Method::PUT, &path, json, &body, &unknown).await;
    let patch = r#"{"spec":{"unknownField":1}}"#;
    thrice(&raw, Method::PATCH, &path, MERGE, patch, &["unknown field \"spec.unknownField\""]).await;
    thrice(&raw, Method::PATCH, &path, STRATEGIC, patch, &["unknown field \"spec.unknownField\""]).await;
    let twice = r#"{"spec":{"replicas":1,"replicas":2}}"#;
    thrice(&raw, Method::PATCH, &path, MERGE, twice, &["duplicate field \"spec.replicas\""]).await;
    thrice(&raw, Method::PATCH, &path, STRATEGIC, twice, &["duplicate field \"spec.replicas\""]).await;
    let operations = r#"[{"op":"add","path":"/spec/unknownField","value":1}]"#;
    thrice(&raw, Method::PATCH, &path, JSON_PATCH, operations, &["unknown field \"spec.unknownField\""]).await;
    let twice = r#"[{"op":"add","path":"/spec/replicas","value":1,"value":2}]"#;
    thrice(&raw, Method::PATCH, &path, JSON_PATCH, twice, &["json patch duplicate field \"[0].value\""]).await;
    let more = r#"[{"op":"add","path":"/spec/replicas","value":1,"why":"so"}]"#;
    thrice(&raw, Method::PATCH, &path, JSON_PATCH, more, &["json patch unknown field \"[0].why\""]).await;
}

#[tokio::test(start_paused = true)]
async fn custom_kinds() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let json = "application/json";
    let head = r#""apiVersion":"g.io/v1","kind":"Gadget","metadata":{"name":"x"}"#;
    let unknown = ["unknown field \"spec.list[0].unknownField\"", "unknown field \"unknownField\""];
    let body = format!(r#"{{{head},"unknownField":1,"spec":{{"list":[{{"n":"1","unknownField":1}}]}}}}"#);
    thrice(&raw, Method::POST, GADGETS, json, &body, &unknown).await;
    thrice(&raw, Method::POST, GADGETS, "application/yaml", &body, &unknown).await;
    let twice = format!(r#"{{{head},"spec":{{"list":[{{"n":"1","n":"2"}}]}}}}"#);
    thrice(&raw, Method::POST, GADGETS, json, &twice, &["duplicate field \"spec.list[0].n\""]).await;
    thrice(&raw, Method::POST, GADGETS, "application/yaml", &twice, &["key \"n\" already set in map"]).await;
    let path = format!("{GADGETS}/g");
    let patch = r#"{"spec":{"list":[{"n":"1","unknownField":1}]},"unknownField":1}"#;
    thrice(&raw, Method::PATCH, &path, MERGE, patch, &unknown).await;
    thrice(&raw, Method::PATCH, &path, MERGE, r#"{"spec":{"a":"1","a":"2"}}"#, &["duplicate field \"spec.a\""]).await;
    let operations = r#"[{"op":"add","path":"/spec/unknownField","value":1}]"#;
    thrice(&raw, Method::PATCH, &path, JSON_PATCH, operations, &["unknown field \"spec.unknownField\""]).await;
    let applied = r#"{"apiVersion":"g.io/v1","kind":"Gadget","metadata":{"name":"g"},"spec":{"unknownField":1}}"#;
    let answer =
        send(&raw, &Method::PATCH, &format!("{path}?fieldManager=m&fieldValidation=Strict"), APPLY, applied).await;
    assert!(!answer.status.is_success() && answer.message().contains("unknownField"), "{}", answer.message());
}
