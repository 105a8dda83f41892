//! Forms of requests and answers, and what bad ones get.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Harness, config_map};

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_in_kubernetes_words() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let text = |content_type: &'static str, body: &'static str| {
        let raw = &raw;
        async move {
            let request = Request::builder().method(Method::POST).uri(CONFIG_MAPS).header("content-type", content_type);
            let answer = raw.send(request.body(Full::from(body)).expect("request")).await;
            (answer.status.as_u16(), answer.message())
        }
    };
    assert_eq!(text("application/json", "{bad").await, (400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'b' looking for beginning of object key string ({bad)".to_owned()));
    assert_eq!(text("application/json", "").await, (400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)".to_owned()));
    assert_eq!(text("text/plain", "x").await.0, 415);
    assert_eq!(
        text("application/json", r#"{"apiVersion":"v1","kind":"Secret"}"#).await.1,
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
    );
    assert_eq!(
        text("application/json", r#"{"metadata":{"name":"a"},"data":{"a":1}}"#).await.1,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    );
    assert_eq!(text("application/yaml", "metadata: {name: from-yaml}\ndata: {a: 'on'}\n").await.0, 201);
    for (path, body, code, message) in [
        (
            CONFIG_MAPS,
            json!({"metadata": {}}),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            CONFIG_MAPS,
            json!({"metadata": {"name": "a", "namespace": "b"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("/api/v1/namespaces/nope/configmaps", config_map("a"), 404, "namespaces \"nope\" not found"),
        (
            CONFIG_MAPS,
            json!({"metadata": {"name": "a", "resourceVersion": "1"}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        ("/api/v1/namespaces/default/nodes", json!({}), 404, "the server could not find the requested resource"),
        (
            &format!("{CONFIG_MAPS}/a"),
            config_map("a"),
            405,
            "the server does not allow this method on the requested resource",
        ),
        ("/api/v1/configmaps", config_map("a"), 405, "the server does not allow this method on the requested resource"),
    ] {
        let answer = raw.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.message().as_str()), (code, message), "{path} {body}");
    }
    let page = raw.get("/apis/nope.io/v1/things").await;
    assert_eq!((page.status.as_u16(), page.bytes.as_ref()), (404, b"404 page not found\n".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn answers_in_the_form_that_is_taken() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let yaml = raw.get_as(&path, "application/yaml").await;
    assert!(yaml.bytes.starts_with(b"apiVersion: v1\ndata:\n  a: b\nkind: ConfigMap\n"));
    let metadata = raw.get_as(&path, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await.json();
    assert_eq!((metadata["kind"].as_str(), metadata.get("data")), (Some("PartialObjectMetadata"), None));
    let table = raw.get_as(CONFIG_MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.json();
    assert_eq!((table["kind"].as_str(), table["rows"][0]["cells"][0].as_str()), (Some("Table"), Some("a")));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(raw.get_as(&path, "text/html").await.status, 406);
    assert_eq!(
        raw.get_as(&path, "application/vnd.kubernetes.protobuf,application/json").await.json()["kind"],
        "ConfigMap"
    );
    let missing = raw.get_as(&format!("{CONFIG_MAPS}/b"), "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(missing["kind"], "Status", "refusals have one shape");
    let list = raw.get(CONFIG_MAPS).await.json();
    assert_eq!((list["kind"].as_str(), list["items"][0].get("kind")), (Some("ConfigMapList"), None));
}

#[tokio::test(start_paused = true)]
async fn discovery_in_both_forms() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let first = raw.get_as("/apis", aggregated).await;
    assert_eq!(first.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let tag = first.headers["etag"].clone();
    let request = Request::builder().uri("/apis").header("accept", aggregated).header("if-none-match", &tag);
    let again = raw.send(request.body(Full::default()).expect("request")).await;
    assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0));
    assert_eq!(raw.get("/apis").await.json()["kind"], "APIGroupList");
    assert_eq!(raw.get("/api/v1").await.json()["kind"], "APIResourceList");
    let version = raw.get("/version").await.json();
    assert!(version["gitVersion"].as_str().expect("version").starts_with("v1.37."));
    let health = raw.get("/readyz?verbose").await;
    assert!(health.bytes.starts_with(b"[+]ping ok\n"));
}

#[tokio::test(start_paused = true)]
async fn dry_runs_store_nothing() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let before = harness.server.store().revision();
    let dry = raw.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("a")).await;
    assert_eq!((dry.status.as_u16(), dry.json()["metadata"].get("resourceVersion")), (201, None));
    assert_eq!(harness.server.store().revision(), before);
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let path = format!("{CONFIG_MAPS}/a?dryRun=All");
    assert_eq!(raw.merge(&path, &json!({"data": {"x": "y"}})).await.json()["data"]["x"], "y");
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 200);
    assert_eq!(raw.get(&format!("{CONFIG_MAPS}/a")).await.json()["data"], json!({"a": "b"}));
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_and_release() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["x.io/f"]);
    raw.post(CONFIG_MAPS, &map).await;
    let path = format!("{CONFIG_MAPS}/a");
    let ending = raw.delete(&path, &Value::Null).await.json();
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 0);
    let more = raw.merge(&path, &json!({"metadata": {"finalizers": ["x.io/f", "x.io/g"]}})).await;
    assert!(more.message().contains("no new finalizers can be added if the object is being deleted"));
    let last = raw.merge(&path, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(last.status, 200);
    assert_eq!(raw.get(&path).await.status, 404);
    let wrong = raw.delete(&path, &json!({"propagationPolicy": "Foo"})).await;
    assert_eq!(wrong.status, 422);
}

#[tokio::test(start_paused = true)]
async fn a_body_has_its_bound() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut map = config_map("a");
    map["data"]["a"] = json!("x".repeat(4 << 20));
    assert_eq!(raw.post(CONFIG_MAPS, &map).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn odd_requests_are_answered() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let deep = format!("{{\"metadata\":{{\"name\":\"d\"}},\"data\":{}}}", "[".repeat(100_000));
    let paths = [
        "/api/v1/%zz",
        "/api/v1/namespaces/%2f/configmaps",
        "/apis//",
        "/api/v1/namespaces/default/configmaps/a/b/c/d",
        "/openapi/v3/x/y/z",
        "/openapi",
        "/%00",
    ];
    for path in paths {
        let answer = raw.get(path).await;
        assert!(answer.status.is_client_error(), "{path} {}", answer.status);
    }
    let types = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    let bodies = [
        "",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{}",
        "{\"metadata\":1}",
        "{\"metadata\":{\"name\":[]}}",
        "k8s\0",
        "k8s\0\u{1}\u{2}",
        "\u{0}",
        deep.as_str(),
        "{\"metadata\":{\"labels\":{\"a\":null}}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":[],\"data\":{\"a\":[]}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"ownerReferences\":[null,{}],\"finalizers\":[{},[],null,1]}}",
        "{\"metadata\":{\"managedFields\":[{\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"k:{\":{\"f:\":{}}}}]}}",
        "[{\"op\":\"add\",\"path\":\"/metadata\",\"value\":1}]",
    ];
    for content_type in types {
        for body in bodies {
            for (method, path) in [
                (Method::POST, CONFIG_MAPS.to_owned()),
                (Method::PUT, format!("{CONFIG_MAPS}/a")),
                (Method::PATCH, format!("{CONFIG_MAPS}/a")),
                (Method::PATCH, format!("{CONFIG_MAPS}/a?fieldManager=m&force=true")),
                (Method::DELETE, format!("{CONFIG_MAPS}/nope")),
            ] {
                let request = Request::builder().method(&method).uri(&path).header("content-type", content_type);
                let answer = raw.send(request.body(Full::from(body.to_owned())).expect("request")).await;
                let message = answer.json()["message"].clone();
                assert!(
                    !message.as_str().unwrap_or_default().contains("panicked"),
                    "{method} {content_type} {body:.60}"
                );
            }
        }
    }
}
