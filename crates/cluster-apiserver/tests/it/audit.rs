//! The audit log, as a file on a disk.

use std::path::Path;

use cluster_apiserver::ApiServerConfig;
use cluster_apiserver::audit::{AuditConfig, Policy};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::hook_server::{HookServer, admission};
use crate::support::{BOB_TOKEN, CONFIG_MAPS, Harness, config_map};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn start(path: &Path, rules: &str) -> Harness {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    let policy = Policy::parse(text.as_bytes()).expect("policy");
    let audit = AuditConfig { policy, path: path.to_owned(), max_size_mb: 100, max_backups: 0, max_age_days: 0 };
    Harness::start_as(MemoryDisk::new(), |config| ApiServerConfig { audit: Some(audit), ..config }).await
}

/// Everything that was recorded; the server is closed for it.
fn events(harness: &Harness, path: &Path) -> Vec<Value> {
    harness.server.close();
    let text = std::fs::read_to_string(path).expect("log");
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[tokio::test]
async fn requests_are_recorded_at_their_level() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("audit.log");
    let harness = start(
        &path,
        "rules:
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: RequestResponse, verbs: [create, delete], resources: [{group: '', resources: [configmaps]}], omitManagedFields: true, omitStages: [RequestReceived]}
- {level: Request, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}
",
    )
    .await;
    let raw = harness.raw();
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hidden"}});
    assert_eq!(raw.post(SECRETS, &secret).await.status, 201);
    let made = raw.post(&format!("{CONFIG_MAPS}?fieldManager=me"), &config_map("a")).await;
    assert_eq!(made.status, 201);
    let patched = raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"a": "c"}})).await;
    assert_eq!(patched.status, 200);
    assert_eq!(raw.delete(&format!("{CONFIG_MAPS}/a"), &Value::Null).await.status, 200);
    assert_eq!(raw.get("/version").await.status, 200, "nobody wants to know");
    let refused = harness.with_token(BOB_TOKEN).get(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(refused.status, 403);
    let ids = [&made, &patched].map(|answer| answer.headers["audit-id"].to_str().expect("id").to_owned());

    let events = events(&harness, &path);
    let text = std::fs::read_to_string(&path).expect("log");
    assert!(!text.contains("hidden"), "{text}");
    let told = |event: &Value| format!("{} {} {}", event["level"], event["verb"], event["stage"]).replace('"', "");
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        [
            "Metadata create RequestReceived",
            "Metadata create ResponseComplete",
            "RequestResponse create ResponseComplete",
            "Request patch ResponseComplete",
            "RequestResponse delete ResponseComplete",
            "Request get ResponseComplete",
        ]
    );
    let [received, secret, made, patched, deleted, refused] = <[Value; 6]>::try_from(events).expect("six");
    assert_eq!(received["auditID"], secret["auditID"]);
    assert!(received.get("responseStatus").is_none());
    assert_eq!(
        secret["objectRef"],
        json!({"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"})
    );
    assert!(secret.get("requestObject").is_none() && secret.get("responseObject").is_none());
    assert_eq!(made["auditID"], ids[0]);
    assert_eq!(made["requestURI"], format!("{CONFIG_MAPS}?fieldManager=me"));
    assert_eq!(made["user"], json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]}));
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(made["annotations"], json!({"authorization.k8s.io/decision": "allow"}));
    assert_eq!(made["requestObject"], config_map("a"));
    assert!(made["responseObject"]["metadata"]["uid"].is_string(), "{made}");
    assert!(made["responseObject"]["metadata"].get("managedFields").is_none(), "{made}");
    assert_eq!(patched["auditID"], ids[1]);
    assert_eq!(patched["requestObject"], json!({"data": {"a": "c"}}));
    assert!(patched.get("responseObject").is_none());
    assert_eq!(deleted["responseStatus"]["status"], "Success");
    let status = &refused["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_begins_and_when_it_ends() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("audit.log");
    let harness =
        start(&path, "rules: [{level: RequestResponse, resources: [{group: '', resources: [configmaps]}]}]").await;
    let request = Request::builder()
        .uri(format!("{CONFIG_MAPS}?watch=true"))
        .header("audit-id", "mine")
        .header("x-forwarded-for", "192.0.2.1, 192.0.2.2")
        .header("user-agent", "a/1");
    let response = harness.raw().open(request.body(Full::default()).expect("request")).await;
    let mut body = response.into_body();
    assert_eq!(harness.raw().post(CONFIG_MAPS, &config_map("a")).await.status, 201);
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    let events = events(&harness, &path);
    let of_watch: Vec<&Value> = events.iter().filter(|event| event["auditID"] == "mine").collect();
    let stages: Vec<&Value> = of_watch.iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    let last = events.last().expect("events");
    assert_eq!((&last["auditID"], &last["verb"]), (&json!("mine"), &json!("watch")), "it ends last");
    assert_eq!((&last["sourceIPs"], &last["userAgent"]), (&json!(["192.0.2.1", "192.0.2.2"]), &json!("a/1")));
    assert!(last.get("responseObject").is_none());
}

#[tokio::test]
async fn strangers_impersonators_and_webhooks_are_told_of() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("audit.log");
    let server =
        HookServer::start(|_, review| admission(review, json!({"allowed": true, "auditAnnotations": {"k": "v"}})))
            .await;
    let harness = start(
        &path,
        "omitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{group: '', resources: [configmaps]}]}]",
    )
    .await;
    let hook = json!({
        "name": "a.b.c", "clientConfig": server.client("/"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
    });
    let configuration = json!({"metadata": {"name": "v"}, "webhooks": [hook]});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(harness.raw().post(hooks, &configuration).await.status, 201);
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONFIG_MAPS)
        .header("content-type", "application/json")
        .header("impersonate-user", "jane")
        .header("impersonate-group", "system:masters")
        .body(Full::new(config_map("a").to_string().into()));
    assert_eq!(harness.raw().send(request.expect("request")).await.status, 201);
    assert_eq!(harness.with_token("unknown").get(CONFIG_MAPS).await.status, 401);
    let [made, refused] = <[Value; 2]>::try_from(events(&harness, &path)).expect("two");
    assert_eq!((&made["user"]["username"], &made["impersonatedUser"]["username"]), (&json!("admin"), &json!("jane")));
    assert_eq!(made["annotations"]["a.b.c/k"], "v");
    assert_eq!((&refused["user"], &refused["responseStatus"]["code"]), (&json!({}), &json!(401)));
}
