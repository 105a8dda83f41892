//! Custom resources whose versions a webhook converts.

use futures::StreamExt as _;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::hook_server::{HookServer, Reply};
use crate::support::{Harness, Raw, eventually};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/g.io/v1/namespaces/default/points";
const V2: &str = "/apis/g.io/v2/namespaces/default/points";

/// In v1 a point is `"1,2"`, in v2 it is two numbers. v2 is kept.
fn crd(client: &Value) -> Value {
    let version = |name: &str, fields: Value| {
        json!({
            "name": name, "served": true, "storage": name == "v2", "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": fields},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}},
        })
    };
    let numbers = json!({"x": {"type": "integer"}, "y": {"type": "integer"}, "z": {"type": "integer"}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "points.g.io"},
        "spec": {
            "group": "g.io", "scope": "Namespaced", "names": {"plural": "points", "kind": "Point"},
            "versions": [version("v1", json!({"at": {"type": "string"}})), version("v2", numbers)],
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
        },
    })
}

fn convert(object: &Value, to: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(to);
    let spec = &object["spec"];
    object["spec"] = if to == "g.io/v1" {
        json!({"at": format!("{},{}", spec["x"], spec["y"])})
    } else {
        let at = spec["at"].as_str().unwrap_or_default();
        let (x, y) = at.split_once(',').unwrap_or(("0", "0"));
        json!({"x": x.parse::<i64>().unwrap_or_default(), "y": y.parse::<i64>().unwrap_or_default(), "unknown": 1})
    };
    object
}

fn reply(review: &Value, objects: Vec<Value>) -> Reply {
    let response =
        json!({"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects});
    Reply::Json(json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response}))
}

fn all(review: &Value) -> Vec<Value> {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap_or_default();
    request["objects"].as_array().expect("objects").iter().map(|object| convert(object, to)).collect()
}

async fn server() -> HookServer {
    HookServer::start(|_, review| reply(review, all(review))).await
}

async fn establish(raw: &Raw, server: &HookServer) {
    let made = raw.post(CRDS, &crd(&server.client("/convert"))).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert!(made.headers.get("warning").is_none());
    eventually("the CRD is served", || async { raw.get(V1).await.status == 200 }).await;
}

fn old(name: &str, at: &str) -> Value {
    json!({"apiVersion": "g.io/v1", "kind": "Point", "metadata": {"name": name}, "spec": {"at": at}})
}

fn new(name: &str, x: i64) -> Value {
    json!({"apiVersion": "g.io/v2", "kind": "Point", "metadata": {"name": name}, "spec": {"x": x, "y": 0}})
}

#[tokio::test]
async fn every_version_shows_what_the_webhook_makes_of_it() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    let made = raw.post(V1, &old("a", "1,2")).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert_eq!(made.json()["spec"], json!({"at": "1,2"}));
    let [out, back] = <[_; 2]>::try_from(server.take()).expect("to be kept, and to be shown");
    assert_eq!((out.0.as_str(), &out.1["desiredAPIVersion"]), ("/convert?timeout=30s", &json!("g.io/v2")));
    assert_eq!(back.1["desiredAPIVersion"], "g.io/v1");
    assert_eq!(
        raw.get(&format!("{V2}/a")).await.json()["spec"],
        json!({"x": 1, "y": 2}),
        "and what is unknown is gone"
    );
    assert_eq!(raw.post(V2, &new("b", 7)).await.status, 201);
    assert!(server.take().is_empty(), "nobody is asked about the version that is kept");
    assert_eq!(raw.get(&format!("{V1}/b")).await.json()["spec"], json!({"at": "7,0"}));
    server.take();
    let list = raw.get(V1).await.json();
    let specs: Vec<&Value> = list["items"].as_array().expect("items").iter().map(|item| &item["spec"]["at"]).collect();
    assert_eq!(specs, ["1,2", "7,0"]);
    assert_eq!(server.take().len(), 1, "a list is one review");
    let changed = raw.merge(&format!("{V1}/b"), &json!({"spec": {"at": "8,9"}})).await;
    assert_eq!(changed.json()["spec"]["at"], "8,9", "{}", changed.message());
    let stored = raw.get(&format!("{V2}/b")).await.json();
    assert_eq!((&stored["spec"], &stored["metadata"]["generation"]), (&json!({"x": 8, "y": 9}), &json!(2)));
    assert_eq!(stored["apiVersion"], "g.io/v2");
    let status = raw.merge(&format!("{V1}/b/status"), &json!({"status": {"ok": true}})).await;
    assert_eq!((&status.json()["spec"]["at"], &status.json()["status"]["ok"]), (&json!("8,9"), &json!(true)));
    let rows = raw.get_as(V1, "application/json;as=Table;g=meta.k8s.io;v=v1").await;
    assert_eq!(rows.json()["rows"][0]["cells"][0], "a");
    assert_eq!(raw.delete(&format!("{V1}/a"), &Value::Null).await.status, 200);
}

#[tokio::test]
async fn defaults_are_those_of_the_version_that_is_kept() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    assert_eq!(raw.post(V2, &new("a", 7)).await.status, 201);
    let mut versions = crd(&Value::Null)["spec"]["versions"].clone();
    let spec = "/schema/openAPIV3Schema/properties/spec/properties";
    for (at, name) in [(0, "unit"), (1, "scale")] {
        let properties = versions[at].pointer_mut(spec).expect("properties");
        properties[name] = json!({"type": "string", "default": "d"});
    }
    let changed = raw.merge(&format!("{CRDS}/points.g.io"), &json!({"spec": {"versions": versions}})).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    eventually("v2 has its default", || async { raw.get(&format!("{V2}/a")).await.json()["spec"]["scale"] == "d" })
        .await;
    assert_eq!(raw.get(&format!("{V1}/a")).await.json()["spec"], json!({"at": "7,0"}));
    let (_, asked) = server.take().pop().expect("a review");
    assert_eq!(asked["objects"][0]["spec"]["scale"], "d", "what is kept was kept before it had a default");
    let made = raw.post(V1, &old("b", "1,2")).await;
    assert_eq!(made.json()["spec"], json!({"at": "1,2"}), "{}", made.message());
    assert_eq!(raw.get(&format!("{V2}/b")).await.json()["spec"], json!({"x": 1, "y": 2, "scale": "d"}));
}

#[tokio::test]
async fn a_watch_converts_what_happens() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    raw.post(V2, &new("a", 1)).await;
    let request = Request::builder().uri(format!("{V1}?watch=true")).body(Full::default()).expect("request");
    let mut lines = raw.open(request).await.into_body().into_data_stream();
    let mut next = async || -> Value {
        let chunk = lines.next().await.expect("an event").expect("data");
        serde_json::from_slice(&chunk).expect("json")
    };
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["at"]), (&json!("ADDED"), &json!("1,0")));
    raw.merge(&format!("{V2}/a"), &json!({"spec": {"x": 5}})).await;
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["at"]), (&json!("MODIFIED"), &json!("5,0")));
    assert_eq!(event["object"]["apiVersion"], "g.io/v1");
    raw.delete(&format!("{V2}/a"), &Value::Null).await;
    let event = next().await;
    assert_eq!((&event["type"], &event["object"]["spec"]["at"]), (&json!("DELETED"), &json!("5,0")));
}

#[tokio::test]
async fn a_watch_asks_nobody_about_what_it_does_not_show() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    raw.post("/api/v1/namespaces", &json!({"metadata": {"name": "elsewhere"}})).await;
    let request = Request::builder().uri(format!("{V1}?watch=true")).body(Full::default()).expect("request");
    let mut lines = raw.open(request).await.into_body().into_data_stream();
    server.take();
    let made = raw.post("/apis/g.io/v2/namespaces/elsewhere/points", &new("far", 1)).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert_eq!(raw.post(V2, &new("near", 2)).await.status, 201);
    let chunk = lines.next().await.expect("an event").expect("data");
    let event: Value = serde_json::from_slice(&chunk).expect("json");
    assert_eq!(event["object"]["metadata"]["name"], "near");
    let asked: Vec<Value> = server.take().into_iter().map(|(_, request)| request["objects"].clone()).collect();
    let named = |review: &Value| review.as_array().expect("objects")[0]["metadata"]["name"].clone();
    assert_eq!(asked.iter().map(named).collect::<Vec<_>>(), ["near"]);
}

#[tokio::test]
async fn the_last_finalizer_goes_in_whatever_version() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    let mut kept = new("a", 3);
    kept["metadata"]["finalizers"] = json!(["g.io/kept"]);
    assert_eq!(raw.post(V2, &kept).await.status, 201);
    assert_eq!(raw.delete(&format!("{V1}/a"), &Value::Null).await.status, 200);
    server.take();
    let freed = raw.merge(&format!("{V1}/a"), &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((freed.status.as_u16(), &freed.json()["spec"]["at"]), (200, &json!("3,0")), "{}", freed.message());
    for (_, review) in server.take() {
        for object in review["objects"].as_array().expect("objects") {
            let is_new = object["apiVersion"] == "g.io/v2";
            assert_eq!(object["spec"]["x"].is_number(), is_new, "it is what it says to be: {object}");
        }
    }
    assert_eq!(raw.get(&format!("{V2}/a")).await.status, 404);
}

#[tokio::test]
async fn owners_keep_their_fields_in_their_versions() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    let apply = async |path: &str, manager: &str, body: &Value| {
        let path = format!("{path}/a?fieldManager={manager}");
        raw.request(Method::PATCH, &path, "application/apply-patch+yaml", body).await
    };
    assert_eq!(apply(V1, "one", &old("a", "1,2")).await.status, 201);
    let conflict = apply(V2, "two", &new("a", 5)).await;
    assert_eq!(conflict.status, 409, "{}", conflict.message());
    assert!(conflict.message().contains("conflict with \"one\": .spec.at"), "{}", conflict.message());
    let mut same = new("a", 1);
    same["spec"]["y"] = json!(2);
    let shared = apply(V2, "two", &same).await;
    assert_eq!(shared.status, 200, "{}", shared.message());
    let fields = shared.json()["metadata"]["managedFields"].clone();
    let of = |manager: &str| {
        let list = fields.as_array().expect("list");
        list.iter().find(|entry| entry["manager"] == manager).cloned().unwrap_or_default()
    };
    assert_eq!((&of("one")["apiVersion"], &of("two")["apiVersion"]), (&json!("g.io/v1"), &json!("g.io/v2")));
    assert_eq!(of("one")["fieldsV1"]["f:spec"], json!({"f:at": {}}));
    raw.merge(&format!("{V2}/a?fieldManager=three"), &json!({"spec": {"x": 9}})).await;
    let after = raw.get(&format!("{V2}/a")).await.json()["metadata"]["managedFields"].to_string();
    assert!(!after.contains("\"one\"") && after.contains("three"), "what changed in v2 changed in v1: {after}");
}

#[tokio::test]
async fn a_wrong_answer_is_refused_in_kubernetes_words() {
    let server = HookServer::start(|_, review| {
        let name = review["request"]["objects"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut objects = all(review);
        match name.as_str() {
            "fewer" => objects.clear(),
            "version" => objects[0]["apiVersion"] = json!("g.io/v3"),
            "kind" => objects[0]["kind"] = json!("Line"),
            "name" => objects[0]["metadata"]["name"] = json!("other"),
            "label" => objects[0]["metadata"]["labels"] = json!({"a": 1}),
            "meta" => objects[0].as_object_mut().map(|object| object.remove("metadata")).map(drop).unwrap_or_default(),
            "fails" => {
                let response = json!({"uid": review["request"]["uid"], "result": {"status": "Failure", "message": "cannot"}});
                return Reply::Json(json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response}));
            }
            "stale" => return Reply::Json(json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {"uid": "x"}})),
            _ => {
                objects[0]["metadata"]["labels"] = json!({"l": "1"});
                objects[0]["metadata"]["generation"] = json!(99);
            }
        }
        reply(review, objects)
    })
    .await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw, &server).await;
    let begin = "conversion webhook for g.io/v2, Kind=Point";
    let cases = [
        ("fewer", "returned 0 objects, expected 1"),
        ("version", "returned invalid object at index 0: invalid groupVersion (expected g.io/v1, received g.io/v3)"),
        ("kind", "returned invalid object at index 0: invalid kind (expected Point, received Line)"),
        ("name", "returned invalid object: must have the same name: name != other"),
        ("label", "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"),
        ("meta", "returned invalid object: must have the same name: meta != "),
        ("fails", "failed: cannot"),
    ];
    for (name, why) in cases {
        assert_eq!(raw.post(V2, &new(name, 1)).await.status, 201);
        let refused = raw.get(&format!("{V1}/{name}")).await;
        assert_eq!((refused.status.as_u16(), refused.message()), (500, format!("{begin} {why}")));
    }
    raw.post(V2, &new("stale", 1)).await;
    let said = raw.get(&format!("{V1}/stale")).await.message();
    assert!(said.starts_with(&format!("{begin} failed: expected response.uid=")), "{said}");
    raw.post(V2, &new("fine", 1)).await;
    let shown = raw.get(&format!("{V1}/fine")).await.json();
    assert_eq!(shown["metadata"]["labels"], json!({"l": "1"}), "labels are the webhook's to change");
    assert_eq!(shown["metadata"]["generation"], 1, "and nothing else");
    assert_eq!(raw.get(V2).await.status, 200, "who reads what is kept does not need it");
    let refused = raw.get(V1).await;
    assert_eq!(refused.status, 500, "a list is whole or not at all");
}

#[tokio::test]
async fn what_was_kept_before_is_converted_too_and_the_end_needs_no_webhook() {
    let server = server().await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut plain = crd(&Value::Null);
    plain["spec"]["conversion"] = json!({"strategy": "None"});
    plain["spec"]["versions"][0]["storage"] = json!(true);
    plain["spec"]["versions"][1]["storage"] = json!(false);
    assert_eq!(raw.post(CRDS, &plain).await.status, 201);
    eventually("the CRD is served", || async { raw.get(V1).await.status == 200 }).await;
    raw.post(V1, &old("a", "3,4")).await;
    let path = format!("{CRDS}/points.g.io");
    let spec = crd(&server.client("/"))["spec"].clone();
    let changed =
        raw.merge(&path, &json!({"spec": {"conversion": spec["conversion"], "versions": spec["versions"]}})).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    assert_eq!(raw.get(&format!("{V2}/a")).await.json()["spec"], json!({"x": 3, "y": 4}));
    assert_eq!(raw.get(&format!("{V1}/a")).await.json()["spec"], json!({"at": "3,4"}));
    let mut gone = spec["conversion"].clone();
    gone["webhook"]["clientConfig"] = json!({"url": "https://127.0.0.1:1/"});
    // A write keeps it in the version that is to be kept, even if nothing else changes.
    raw.merge(&format!("{V1}/a"), &json!({})).await;
    raw.post(V2, &new("b", 1)).await;
    let mut versions = spec["versions"].clone();
    versions[1]["served"] = json!(false);
    let changed = raw.merge(&path, &json!({"spec": {"conversion": gone, "versions": versions}})).await;
    assert_eq!(changed.status, 200, "{}", changed.message());
    assert_eq!(raw.get(&format!("{V1}/b")).await.status, 500);
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 200);
    eventually("the CRD is gone", || async { raw.get(&path).await.status == 404 }).await;
}

#[tokio::test]
async fn a_conversion_is_checked_when_the_crd_is_written() {
    let harness = Harness::start().await;
    let mut definition = crd(&Value::Null);
    definition["spec"]["conversion"]["webhook"] = json!({"conversionReviewVersions": ["v7"]});
    let refused = harness.raw().post(CRDS, &definition).await;
    assert_eq!(
        refused.message(),
        "CustomResourceDefinition.apiextensions.k8s.io \"points.g.io\" is invalid: \
         [spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook, \
         spec.conversion.conversionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1]"
    );
}
