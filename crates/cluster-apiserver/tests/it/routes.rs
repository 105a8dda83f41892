//! What is not a resource: routes of the embedding program, OpenAPI documents, tables.

use std::sync::Arc;

use cluster_apiserver::Identity;
use cluster_apiserver::http::body::Body;
use cluster_apiserver::http::routes::{Route, RouteFuture, RouteHandler};
use cluster_apiserver::http::service::RequestBody;
use http::{Request, Response};
use serde_json::json;

use crate::support::{BOB_TOKEN, CONFIG_MAPS, Harness, config_map};

/// Says who asked for what.
struct Echo;

impl RouteHandler for Echo {
    fn call(&self, request: Request<RequestBody>, identity: &Identity) -> RouteFuture {
        let text = format!("{} {} by {}", request.method(), request.uri(), identity.username);
        Box::pin(std::future::ready(Response::new(Body::from(bytes::Bytes::from(text)))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_is_open_to_whom_the_rules_let() {
    let route = Route { prefix: "/kwick".to_owned(), handler: Arc::new(Echo) };
    let harness = Harness::start_routing(vec![route]).await;
    let answer = harness.raw().get("/kwick/status?a=b").await;
    assert_eq!(answer.bytes, "GET /kwick/status?a=b by admin");
    assert_eq!(harness.raw().get("/kwickly").await.status, 404);

    let bob = harness.with_token(BOB_TOKEN);
    let refused = bob.get("/kwick/status").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.message(), "forbidden: User \"bob\" cannot get path \"/kwick/status\"");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"nonResourceURLs": ["/kwick/*"], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    assert_eq!(harness.raw().post(&format!("{rbac}/clusterroles"), &role).await.status, 201);
    assert_eq!(harness.raw().post(&format!("{rbac}/clusterrolebindings"), &binding).await.status, 201);
    assert_eq!(bob.get("/kwick/status").await.bytes, "GET /kwick/status by bob");
    assert_eq!(bob.post("/kwick/status", &json!({})).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn documents_are_found_by_their_hash() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let index = raw.get("/openapi/v3").await.json();
    let place = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("apps").to_owned();
    let found = raw.get(&place).await;
    assert_eq!(
        (found.status.as_u16(), &found.headers["cache-control"]),
        (200, &"public, immutable".parse().expect("v"))
    );
    assert!(found.headers.contains_key("expires") && found.headers.contains_key("etag"));
    assert!(found.json()["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let plain = raw.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!(
        (plain.status.as_u16(), &plain.headers["cache-control"]),
        (200, &"no-cache, private".parse().expect("v"))
    );
    let moved = raw.get("/openapi/v3/apis/apps/v1?hash=X").await;
    assert_eq!((moved.status.as_u16(), moved.headers["location"].to_str().expect("text")), (301, place.as_str()));
    assert_eq!(raw.get("/openapi/v3/apis/nope/v1").await.status, 404);

    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = raw.get_as("/openapi/v2", protobuf).await;
    assert_eq!(answer.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert_eq!(&answer.bytes[..5], b"\x0a\x032.0");
    let whole = raw.get_as("/openapi/v2", "application/json").await;
    assert_eq!(whole.json()["swagger"], "2.0");
    assert!(whole.json()["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let tag = whole.headers["etag"].to_str().expect("text");
    let request = http::Request::builder().uri("/openapi/v2").header("if-none-match", tag);
    let known = raw.send(request.body(http_body_util::Full::default()).expect("request")).await;
    assert_eq!((known.status.as_u16(), known.bytes.len()), (304, 0));
    assert_eq!(raw.get_as("/openapi/v2", "text/html").await.status, 406);
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_columns_of_their_kind() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = raw.get_as(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da"), accept).await.json();
    let names: Vec<_> = table["columnDefinitions"].as_array().expect("columns").iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 1, "0s"]));
}

#[tokio::test(start_paused = true)]
async fn a_bound_pod_says_so() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    assert_eq!(raw.post("/api/v1/namespaces/default/serviceaccounts", &account).await.status, 201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    assert_eq!(raw.post(pods, &pod).await.status, 201);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
    });
    assert_eq!(raw.post(&format!("{pods}/p/binding"), &binding).await.status, 201);
    let bound = raw.get(&format!("{pods}/p")).await.json();
    assert_eq!((&bound["spec"]["nodeName"], &bound["metadata"]["generation"]), (&json!("n"), &json!(1)));
    let conditions = &bound["status"]["conditions"];
    assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("PodScheduled"), &json!("True")));
}
