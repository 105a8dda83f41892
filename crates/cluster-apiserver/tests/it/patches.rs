//! Patches over HTTP, and what else of writes a raw request shows: protobuf bodies, generated names, preconditions.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Answer, CONFIG_MAPS, Harness, Raw, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn patch(raw: &Raw, path: &str, kind: &str, body: &Value) -> Answer {
    raw.request(Method::PATCH, path, &format!("application/{kind}-patch+json"), body).await
}

#[tokio::test(start_paused = true)]
async fn json_patches_apply_whole_or_not_at_all() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let operations = json!([
        {"op": "test", "path": "/data/a", "value": "b"},
        {"op": "add", "path": "/data/c", "value": "d"},
        {"op": "move", "from": "/data/a", "path": "/data/moved"},
        {"op": "copy", "from": "/data/c", "path": "/data/copied"},
    ]);
    let patched = patch(&raw, &path, "json", &operations).await;
    assert_eq!(patched.json()["data"], json!({"c": "d", "copied": "d", "moved": "b"}));
    let refused = json!([{"op": "remove", "path": "/data/c"}, {"op": "test", "path": "/data/moved", "value": "x"}]);
    assert_eq!(patch(&raw, &path, "json", &refused).await.status, 422);
    assert_eq!(raw.get(&path).await.json()["data"]["c"], "d");
    let doubling: Vec<Value> =
        (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")})).collect();
    let refused = patch(&raw, &path, "json", &json!(doubling)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (422, "the server rejected our request due to an error in our request".to_owned())
    );
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "remove", "path": "/x"})).collect();
    let refused = patch(&raw, &path, "json", &json!(many)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (413, "The allowed maximum operations in a JSON patch is 10000, got 10001".to_owned())
    );
    assert_eq!(patch(&raw, &path, "json", &json!({"op": "remove"})).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn strategic_patches_merge_by_key() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "x", "image": "one"}, {"name": "y", "image": "two"},
            ]}},
        },
    });
    assert_eq!(raw.post(DEPLOYMENTS, &deployment).await.status, 201);
    let path = format!("{DEPLOYMENTS}/d");
    let change = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let images = |answer: &Answer| -> Vec<String> {
        let containers = answer.json()["spec"]["template"]["spec"]["containers"].clone();
        containers.as_array().expect("containers").iter().map(|c| format!("{}={}", c["name"], c["image"])).collect()
    };
    let merged = patch(&raw, &path, "strategic-merge", &change(json!([{"name": "y", "image": "three"}]))).await;
    assert_eq!(images(&merged), ["\"x\"=\"one\"", "\"y\"=\"three\""]);
    let gone = patch(&raw, &path, "strategic-merge", &change(json!([{"name": "x", "$patch": "delete"}]))).await;
    assert_eq!(images(&gone), ["\"y\"=\"three\""]);
    let replaced = patch(&raw, &path, "merge", &change(json!([{"name": "z", "image": "four"}]))).await;
    assert_eq!(images(&replaced), ["\"z\"=\"four\""]);
    let too_many = json!({"spec": {"replicas": 3_000_000_000_u32}});
    assert_eq!(patch(&raw, &format!("{path}/scale"), "merge", &too_many).await.status, 422);
}

#[tokio::test(start_paused = true)]
async fn names_are_generated() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut map = config_map("");
    map["metadata"] = json!({"generateName": "gen-"});
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = raw.post(CONFIG_MAPS, &map).await;
        assert_eq!(made.status, 201);
        let name = made.json()["metadata"]["name"].as_str().expect("name").to_owned();
        assert!(name.starts_with("gen-") && name.len() == 9 && names.insert(name.clone()), "{name}");
    }
}

/// A length-delimited field; short enough for lengths of one byte.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).expect("short");
    [&[number << 3 | 2, length], bytes].concat()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = field(1, [field(1, api_version), field(2, kind)].concat());
    [b"k8s\0".to_vec(), meta, field(2, raw)].concat()
}

#[tokio::test(start_paused = true)]
async fn protobuf_bodies_are_read() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let send = |method: Method, path: String, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/vnd.kubernetes.protobuf");
        raw.send(request.body(Full::from(body)).expect("request"))
    };
    let map = [field(1, field(1, "a")), field(2, [field(1, "key"), field(2, "value")].concat())].concat();
    let made = send(Method::POST, CONFIG_MAPS.to_owned(), envelope("v1", "ConfigMap", &map)).await;
    assert_eq!((made.status.as_u16(), made.json()["data"].clone()), (201, json!({"key": "value"})));
    let wrong = send(Method::POST, CONFIG_MAPS.to_owned(), envelope("v1", "Secret", &map)).await;
    assert_eq!(wrong.status, 400);
    // DeleteOptions{preconditions{uid: "other"}}
    let options = field(2, field(1, "other"));
    let path = format!("{CONFIG_MAPS}/a");
    let refused = send(Method::DELETE, path.clone(), envelope("v1", "DeleteOptions", &options)).await;
    assert_eq!(refused.status, 409, "{}", refused.message());
    assert_eq!(send(Method::DELETE, path, envelope("v1", "DeleteOptions", &[])).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_meant_for_another_object_is_refused() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let made = raw.post(CONFIG_MAPS, &config_map("a")).await.json();
    let path = format!("{CONFIG_MAPS}/a");
    let old = made["metadata"]["resourceVersion"].clone();
    let newer = raw.merge(&path, &json!({"data": {"x": "y"}})).await.json();
    let mut stale = config_map("a");
    stale["metadata"]["resourceVersion"] = old.clone();
    assert_eq!(raw.put(&path, &stale).await.status, 409);
    let patched = json!({"metadata": {"resourceVersion": old}, "data": {"z": "z"}});
    assert_eq!(raw.merge(&path, &patched).await.status, 409);
    let mut other = config_map("a");
    other["metadata"]["uid"] = json!("other");
    assert_eq!(raw.put(&path, &other).await.status, 409);
    for precondition in [json!({"uid": "other"}), json!({"resourceVersion": old})] {
        let refused = raw.delete(&path, &json!({"preconditions": precondition})).await;
        assert_eq!(refused.status, 409, "{precondition}");
        assert!(refused.message().contains("in the precondition"), "{}", refused.message());
    }
    assert_eq!(raw.get(&path).await.json()["data"], newer["data"]);
    let right = json!({"preconditions": {"uid": newer["metadata"]["uid"], "resourceVersion": newer["metadata"]["resourceVersion"]}});
    assert_eq!(raw.delete(&path, &right).await.status, 200);
}

/// Texts of a real server: kind of patch, query, body, code, message. What is no JSON is refused before anything is looked for.
#[tokio::test(start_paused = true)]
async fn what_is_no_patch_is_refused_in_kubernetes_words() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let map = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    let nobody = "configmaps \"b\" not found";
    for (name, kind, query, body, code, message) in [
        ("a", "merge", "", "{", 400, "invalid JSON patch".to_owned()),
        ("b", "json", "", "", 400, "invalid JSON patch".to_owned()),
        ("b", "merge", "", "[]", 404, nobody.to_owned()),
        ("a", "merge", "", "[]", 400, format!("error decoding patch: {map}")),
        ("a", "merge", "?fieldValidation=Ignore", "5", 400, "Invalid JSON Patch".to_owned()),
        ("a", "merge", "", "null", 400, "Invalid JSON Patch".to_owned()),
        (
            "a",
            "merge",
            "?fieldValidation=Ignore",
            "[]",
            422,
            " \"\" is invalid: patch: Invalid value: \"[]\": couldn't get version/kind; json parse error: json: cannot unmarshal array into \
             Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }"
                .to_owned(),
        ),
        ("a", "strategic-merge", "", "[]", 400, map.to_owned()),
        (
            "a",
            "strategic-merge",
            "",
            "{\"metadata\":{\"labels\":{\"x\":null,\"y\":5}}}",
            422,
            " \"\" is invalid: patch: Invalid value: \"map[metadata:map[labels:map[y:5]]]\": cannot convert int64 to string".to_owned(),
        ),
        (
            "a",
            "strategic-merge",
            "",
            "{\"data\":[1]}",
            422,
            " \"\" is invalid: patch: Invalid value: \"map[data:[1]]\": cannot restore map from slice".to_owned(),
        ),
        (
            "a",
            "json",
            "",
            "{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp".to_owned(),
        ),
        (
            "a",
            "json",
            "?fieldValidation=Ignore",
            "{}",
            400,
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned(),
        ),
        (
            "a",
            "json",
            "",
            "[{\"op\":5}]",
            400,
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string".to_owned(),
        ),
        (
            "a",
            "apply",
            "?fieldManager=m",
            "{",
            400,
            "error decoding patch: error converting YAML to JSON: yaml: line 1: did not find expected node content".to_owned(),
        ),
        (
            "a",
            "apply",
            "?fieldManager=m",
            "[1",
            400,
            "error encoding patch: yaml: line 1: did not find expected ',' or ']'".to_owned(),
        ),
    ] {
        let form = if kind == "apply" { "yaml" } else { "json" };
        let request = Request::patch(format!("{CONFIG_MAPS}/{name}{query}"));
        let request = request.header("content-type", format!("application/{kind}-patch+{form}"));
        let answer = raw.send(request.body(Full::from(body.to_owned())).expect("request")).await;
        assert_eq!((answer.status.as_u16(), answer.message()), (code, message), "{kind} {query} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_patch_is_warned_of_is_said_with_a_refusal_too() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let refused = raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"metadata": {"name": "b"}, "unknown": 1})).await;
    let warnings: Vec<_> = refused.headers.get_all("warning").iter().collect();
    assert_eq!(refused.status, 400);
    assert_eq!(warnings, ["299 - \"unknown field \\\"unknown\\\"\""]);
}

#[tokio::test(start_paused = true)]
async fn a_self_link_is_shown_only_where_nothing_is_stored() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let linked = json!({"metadata": {"selfLink": "/nowhere"}});
    let path = format!("{CONFIG_MAPS}/a");
    let dry = raw.merge(&format!("{path}?dryRun=All"), &linked).await.json();
    assert_eq!(dry["metadata"]["selfLink"], "/nowhere");
    let stored = raw.merge(&path, &linked).await.json();
    assert_eq!(stored["metadata"]["selfLink"], Value::Null);
    assert_eq!(stored["metadata"]["resourceVersion"], dry["metadata"]["resourceVersion"]);
}

#[tokio::test(start_paused = true)]
async fn a_scale_that_does_not_fit_is_shown_with_its_owners() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "one"}]}},
        },
    });
    raw.post(&format!("{DEPLOYMENTS}?fieldManager=m"), &deployment).await;
    let refused = raw.merge(&format!("{DEPLOYMENTS}/d/scale"), &json!({"spec": {"replicas": "x"}})).await;
    assert_eq!(refused.status, 422);
    assert!(refused.message().contains("\\\"manager\\\":\\\"m\\\""), "{}", refused.message());
    assert!(
        refused.message().contains("\\\"apiVersion\\\":\\\"autoscaling/v1\\\",\\\"fieldsType\\\""),
        "{}",
        refused.message()
    );
}
