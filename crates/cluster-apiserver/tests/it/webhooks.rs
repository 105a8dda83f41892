//! Admission webhooks, over HTTPS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cluster_apiserver::ServiceRange;
use http::Method;
use serde_json::{Value, json};

use crate::hook_server::{HookServer, Reply, admission, allow, deny, patch};
use crate::support::{CONFIG_MAPS, Harness, Raw, config_map};

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Which of the two kinds.
const MUTATING: &str = "Mutating";
const VALIDATING: &str = "Validating";

fn rule(operation: &str, group: &str, resource: &str) -> Value {
    json!({"operations": [operation], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]})
}

/// A webhook for all writes of ConfigMaps.
fn hook(name: &str, client: &Value) -> Value {
    json!({
        "name": name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [rule("*", "", "configmaps")],
    })
}

fn with(hook: Value, changes: Value) -> Value {
    let mut hook = hook;
    hook.as_object_mut().expect("object").extend(changes.as_object().expect("object").clone());
    hook
}

async fn configure(raw: &Raw, kind: &str, name: &str, hooks: Value) {
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    let body = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": hooks,
    });
    let made = raw.post(&format!("{REGISTRATION}/{plural}"), &body).await;
    assert_eq!(made.status, 201, "{}", made.message());
}

fn label(name: &str) -> Value {
    json!([{"op": "add", "path": "/metadata/labels", "value": {name: "1"}}])
}

#[tokio::test]
async fn it_is_told_what_is_written_and_may_change_it() {
    let server = HookServer::start(|path, review| match path {
        "/mutate" => patch(review, json!([{"op": "add", "path": "/data/added", "value": "x"}])),
        _ => admission(review, json!({"allowed": true, "warnings": ["careful"]})),
    })
    .await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    configure(&raw, MUTATING, "m", json!([hook("m.b.c", &server.client("/mutate"))])).await;
    configure(&raw, VALIDATING, "v", json!([with(hook("v.b.c", &server.client("/v")), json!({"timeoutSeconds": 7}))]))
        .await;
    let made = raw.post(&format!("{CONFIG_MAPS}?fieldManager=me&fieldValidation=Strict"), &config_map("a")).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert_eq!(made.json()["data"], json!({"a": "b", "added": "x"}));
    assert_eq!(made.headers["warning"], "299 - \"careful\"");
    let [mutated, validated] = <[_; 2]>::try_from(server.take()).expect("two calls");
    assert_eq!((mutated.0.as_str(), validated.0.as_str()), ("/mutate?timeout=10s", "/v?timeout=7s"));
    let mut request = mutated.1;
    assert_eq!(request["object"]["metadata"]["managedFields"][0]["manager"], "me");
    assert_eq!(request["object"]["data"], json!({"a": "b"}));
    for name in ["uid", "object"] {
        request.as_object_mut().expect("object").remove(name);
    }
    assert_eq!(
        request,
        json!({
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
            "name": "a", "namespace": "default", "operation": "CREATE", "oldObject": null, "dryRun": false,
            "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "options": {
                "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "fieldValidation": "Strict",
            },
        })
    );
    assert_eq!(validated.1["object"]["data"]["added"], "x", "validating webhooks see what is stored");
    assert!(validated.1["object"]["metadata"]["uid"].is_string());
    // What a webhook adds belongs to nobody.
    let fields = &made.json()["metadata"]["managedFields"][0]["fieldsV1"]["f:data"];
    assert!(fields.get("f:a").is_some() && fields.get("f:added").is_none(), "{fields}");

    let path = format!("{CONFIG_MAPS}/a");
    let changed = raw.merge(&path, &json!({"data": {"a": "c", "added": null}})).await;
    assert_eq!(changed.json()["data"], json!({"a": "c", "added": "x"}));
    let (_, request) = server.take().remove(0);
    assert_eq!((&request["operation"], &request["options"]["kind"]), (&json!("UPDATE"), &json!("UpdateOptions")));
    assert_eq!(request["oldObject"]["data"], json!({"a": "b", "added": "x"}));
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"k": "v"}});
    let applied = format!("{CONFIG_MAPS}/new?fieldManager=f");
    let applied = raw.request(Method::PATCH, &applied, "application/apply-patch+yaml", &apply).await;
    assert_eq!((applied.status.as_u16(), &applied.json()["data"]["added"]), (201, &json!("x")));
    assert_eq!(server.take().remove(0).1["operation"], "CREATE");

    let before = raw.delete(&path, &json!({"gracePeriodSeconds": 3})).await;
    assert_eq!(before.status, 500, "a deletion cannot be patched");
    assert_eq!(
        before.message(),
        "Internal error occurred: admission webhook \"m.b.c\" attempted to modify the object, which is not supported for this operation"
    );
    let (_, request) = server.take().remove(0);
    assert_eq!((&request["operation"], &request["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(request["options"]["gracePeriodSeconds"], 3);
    assert_eq!(request["oldObject"]["metadata"]["name"], "a");
}

#[tokio::test]
async fn a_denial_and_a_failure_are_worded_as_kubernetes_words_them() {
    let server = HookServer::start(|path, review| match path {
        "/deny" => deny(review, json!({"code": 403, "reason": "Nope", "message": "no", "details": {"kind": "k"}})),
        "/silent" => deny(review, Value::Null),
        "/stale" => Reply::Json(json!({"response": {"uid": "other", "allowed": true}})),
        "/html" => Reply::Raw(200, "<html>"),
        "/empty" => Reply::Raw(200, ""),
        "/broken" => Reply::Raw(500, "boom"),
        "/gone" => Reply::Raw(404, "404 page not found"),
        "/merge" => admission(
            review,
            json!({"allowed": true, "patchType": "Merge", "patch": "W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL3gifV0="}),
        ),
        "/patch" => patch(review, json!([{"op": "remove", "path": "/data/nothing"}])),
        "/never" => Reply::Never,
        _ => allow(review),
    })
    .await;
    let stranger = HookServer::start(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut foreign = server.client("/foreign");
    foreign["caBundle"] = json!(stranger.ca_bundle());
    let nowhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port").local_addr().expect("address");
    let nobody = json!({"url": format!("https://{nowhere}/x"), "caBundle": server.ca_bundle()});
    let missing =
        json!({"service": {"namespace": "default", "name": "none", "path": "/p"}, "caBundle": server.ca_bundle()});
    let called = "Internal error occurred: failed calling webhook \"a.b.c\":";
    let post =
        |path: &str| format!("{called} failed to call webhook: Post \"https://{}{path}?timeout=1s\":", server.address);
    let cases = [
        (server.client("/deny"), 403, "admission webhook \"a.b.c\" denied the request: no".to_owned()),
        (
            server.client("/silent"),
            400,
            "admission webhook \"a.b.c\" denied the request without explanation".to_owned(),
        ),
        (
            server.client("/html"),
            500,
            format!(
                "{called} failed to call webhook: couldn't get version/kind; json parse error: invalid character '<' looking for beginning of value"
            ),
        ),
        (
            server.client("/broken"),
            500,
            format!(
                "{called} failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"
            ),
        ),
        (
            server.client("/gone"),
            500,
            format!("{called} failed to call webhook: the server could not find the requested resource"),
        ),
        (
            server.client("/empty"),
            500,
            format!("{called} failed to call webhook: 0-length response with status code: 200 and content type: "),
        ),
        (server.client("/merge"), 500, format!("{called} unsupported patch type \"Merge\"")),
        (server.client("/never"), 500, format!("{} context deadline exceeded", post("/never"))),
        (
            foreign,
            500,
            format!(
                "{} tls: failed to verify certificate: x509: certificate signed by unknown authority",
                post("/foreign")
            ),
        ),
        (
            nobody,
            500,
            format!(
                "{called} failed to call webhook: Post \"https://{nowhere}/x?timeout=1s\": dial tcp {nowhere}: connect: connection refused"
            ),
        ),
        (
            missing,
            500,
            format!(
                "{called} failed to call webhook: Post \"https://none.default.svc:443/p?timeout=1s\": service \"none\" not found"
            ),
        ),
    ];
    let path = format!("{REGISTRATION}/mutatingwebhookconfigurations/m");
    for (client, code, message) in cases {
        for policy in ["Fail", "Ignore"] {
            let hook = with(hook("a.b.c", &client), json!({"timeoutSeconds": 1, "failurePolicy": policy}));
            configure(&raw, MUTATING, "m", json!([hook])).await;
            let made = raw.post(CONFIG_MAPS, &config_map("a")).await;
            if policy == "Ignore" && code == 500 {
                assert_eq!(made.status, 201, "{}", made.message());
                raw.delete(&path, &Value::Null).await;
                raw.delete(&format!("{CONFIG_MAPS}/a"), &Value::Null).await;
                continue;
            }
            assert_eq!((made.status.as_u16(), made.message()), (code, message.clone()));
            raw.delete(&path, &Value::Null).await;
        }
    }
    // What a webhook answers is no failure to call it, so its policy does not matter.
    configure(
        &raw,
        MUTATING,
        "m",
        json!([with(hook("a.b.c", &server.client("/patch")), json!({"failurePolicy": "Ignore"}))]),
    )
    .await;
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.status, 500);
    raw.delete(&path, &Value::Null).await;
    configure(&raw, VALIDATING, "v", json!([hook("a.b.c", &server.client("/deny"))])).await;
    let refused = raw.post(CONFIG_MAPS, &config_map("a")).await.json();
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("Nope"), &json!({"kind": "k"})));
    let stale = raw.delete(&format!("{REGISTRATION}/validatingwebhookconfigurations/v"), &Value::Null).await;
    assert_eq!(stale.status, 200);
    configure(&raw, VALIDATING, "v", json!([hook("a.b.c", &server.client("/stale"))])).await;
    let said = raw.post(CONFIG_MAPS, &config_map("a")).await.message();
    assert!(
        said.contains("received invalid webhook response: expected response.uid=") && said.ends_with("got \"other\"")
    );
}

#[tokio::test]
async fn side_effects_forbid_dry_runs() {
    let server = HookServer::start(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    configure(&raw, VALIDATING, "v", json!([hook("a.b.c", &server.client("/"))])).await;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    assert_eq!(raw.post(&dry, &config_map("a")).await.status, 201);
    let (_, request) = server.take().remove(0);
    assert_eq!((&request["dryRun"], &request["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    let v1 = with(hook("a.b.c", &server.client("/")), json!({"sideEffects": "Some"}));
    let body = json!({"metadata": {"name": "w"}, "webhooks": [v1]});
    let refused = raw.post(&format!("{REGISTRATION}/validatingwebhookconfigurations"), &body).await;
    assert!(refused.message().contains("sideEffects: Unsupported value: \"Some\""), "{}", refused.message());
}

#[tokio::test]
async fn what_is_meant_is_asked_and_nothing_else() {
    let server = HookServer::start(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let client = |path: &str| server.client(path);
    let in_labelled = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
    let hooks = json!([
        with(hook("all.b.c", &client("/all")), json!({"rules": [rule("*", "*", "*/*")]})),
        with(hook("ns.b.c", &client("/ns")), in_labelled.clone()),
        with(
            with(hook("team.b.c", &client("/team")), in_labelled),
            json!({"rules": [rule("CREATE", "", "namespaces")]})
        ),
        with(
            hook("object.b.c", &client("/object")),
            json!({"objectSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}})
        ),
        with(
            hook("cluster.b.c", &client("/cluster")),
            json!({"rules": [with(rule("CREATE", "*", "*"), json!({"scope": "Cluster"}))]})
        ),
        with(
            hook("namespaced.b.c", &client("/namespaced")),
            json!({"rules": [with(rule("CREATE", "*", "*"), json!({"scope": "Namespaced"}))]})
        ),
    ]);
    configure(&raw, VALIDATING, "v", hooks).await;
    let asked = || {
        let mut paths: Vec<String> =
            server.take().into_iter().map(|(path, _)| path.split('?').next().unwrap_or_default().to_owned()).collect();
        paths.sort();
        paths.join(" ")
    };
    assert_eq!(asked(), "", "not about itself");
    raw.post("/api/v1/namespaces", &json!({"metadata": {"name": "a", "labels": {"team": "a"}}})).await;
    assert_eq!(asked(), "/all /cluster /team");
    raw.post("/api/v1/namespaces", &json!({"metadata": {"name": "b"}})).await;
    assert_eq!(asked(), "/all /cluster");
    raw.post("/api/v1/namespaces/a/configmaps", &config_map("a")).await;
    assert_eq!(asked(), "/all /namespaced /ns");
    let mut labelled = config_map("a");
    labelled["metadata"]["labels"] = json!({"x": "1"});
    raw.post(CONFIG_MAPS, &labelled).await;
    assert_eq!(asked(), "/all /namespaced /object");
    raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"metadata": {"labels": {"x": null}}})).await;
    assert_eq!(asked(), "/all /object", "the old object counts too");
    raw.get(&format!("{CONFIG_MAPS}/a")).await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    raw.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!(asked(), "", "neither about reads nor about questions");
    raw.request(Method::DELETE, "/api/v1/namespaces/a/configmaps", "", &Value::Null).await;
    assert_eq!(asked(), "/all /ns", "each object of a collection");
}

#[tokio::test]
async fn whoever_wants_to_sees_what_others_did_after_them() {
    let server = HookServer::start(|path, review| match path {
        "/first" => match &review["request"]["object"]["metadata"]["labels"]["late"] {
            Value::Null => patch(review, json!([{"op": "add", "path": "/data/first", "value": "1"}])),
            _ => patch(review, json!([{"op": "add", "path": "/data/again", "value": "1"}])),
        },
        _ => patch(review, label("late")),
    })
    .await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let again = with(hook("first.b.c", &server.client("/first")), json!({"reinvocationPolicy": "IfNeeded"}));
    configure(&raw, MUTATING, "b", json!([hook("late.b.c", &server.client("/late"))])).await;
    configure(&raw, MUTATING, "a", json!([again])).await;
    let made = raw.post(CONFIG_MAPS, &config_map("a")).await.json();
    assert_eq!(made["data"], json!({"a": "b", "first": "1", "again": "1"}));
    let paths: Vec<String> = server.take().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        ["/first?timeout=10s", "/late?timeout=10s", "/first?timeout=10s"],
        "in the order of names, once more"
    );
}

#[tokio::test]
async fn subresources_are_seen_as_what_they_are() {
    let server = HookServer::start(|_, review| match review["request"]["subResource"].as_str() {
        Some("scale") if review["request"]["object"]["spec"]["replicas"] == 9 => {
            patch(review, json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]))
        }
        Some("exec") => deny(review, json!({"message": "no shells"})),
        _ => allow(review),
    })
    .await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"app": "x"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}});
    assert_eq!(raw.post(deployments, &deployment).await.status, 201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    raw.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    assert_eq!(raw.post(PODS, &pod).await.status, 201);
    let all = json!({"rules": [rule("*", "*", "*/*")]});
    configure(&raw, MUTATING, "m", json!([with(hook("m.b.c", &server.client("/")), all)])).await;
    let told = || {
        let (_, request) = server.take().remove(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&request["operation"]), text(&request["kind"]["kind"]), text(&request["subResource"]), request)
    };
    let scaled = raw.merge(&format!("{deployments}/d/scale"), &json!({"spec": {"replicas": 9}})).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 3, "{}", scaled.json());
    let (operation, kind, subresource, request) = told();
    assert_eq!((operation.as_str(), kind.as_str(), subresource.as_str()), ("UPDATE", "Scale", "scale"));
    assert_eq!(request["requestKind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(request["oldObject"]["spec"]["replicas"], 1);
    raw.merge(&format!("{deployments}/d/status"), &json!({"status": {"replicas": 2}})).await;
    let (operation, kind, subresource, _) = told();
    assert_eq!((operation.as_str(), kind.as_str(), subresource.as_str()), ("UPDATE", "Deployment", "status"));
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(raw.post(&format!("{PODS}/p/binding"), &binding).await.status, 201);
    let (operation, kind, subresource, request) = told();
    assert_eq!((operation.as_str(), kind.as_str(), subresource.as_str()), ("CREATE", "Binding", "binding"));
    assert_eq!(request["name"], "p");
    assert!(server.take().is_empty(), "a binding is asked about once");
    let exec = raw.request(Method::POST, &format!("{PODS}/p/exec?command=ls&stdout=true"), "", &Value::Null).await;
    assert_eq!(exec.message(), "admission webhook \"m.b.c\" denied the request: no shells");
    let (operation, kind, _, request) = told();
    assert_eq!((operation.as_str(), kind.as_str()), ("CONNECT", "PodExecOptions"));
    assert_eq!((&request["object"]["command"], &request["object"]["container"]), (&json!(["ls"]), &json!("c")));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(raw.post(&format!("{PODS}/p/eviction"), &eviction).await.status, 201);
    let (operation, kind, subresource, _) = told();
    assert_eq!((operation.as_str(), kind.as_str(), subresource.as_str()), ("CREATE", "Eviction", "eviction"));
    assert!(server.take().is_empty(), "and about the deletion that it is, not again");
}

#[tokio::test]
async fn equivalent_versions_are_converted() {
    let server = HookServer::start(|_, review| patch(review, label("seen"))).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let one = |policy: &str, name: &str| {
        let rule = json!({"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]});
        with(hook(name, &server.client(&format!("/{policy}"))), json!({"rules": [rule], "matchPolicy": policy}))
    };
    configure(&raw, MUTATING, "m", json!([one("Exact", "exact.b.c"), one("Equivalent", "equivalent.b.c")])).await;
    let scaler = json!({"metadata": {"name": "s"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
    }});
    let made = raw.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", &scaler).await;
    assert_eq!(made.json()["metadata"]["labels"]["seen"], "1", "{}", made.json());
    assert_eq!(made.json()["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    let [(path, request)] = <[_; 1]>::try_from(server.take()).expect("one call");
    assert!(path.starts_with("/Equivalent"), "{path}");
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 60);
}

#[tokio::test]
async fn a_webhook_is_reached_behind_its_service() {
    // A range of this machine's own, so that the ClusterIP leads somewhere.
    let services = ServiceRange { network: Ipv4Addr::new(127, 96, 0, 0), prefix_bits: 16, ..ServiceRange::default() };
    let harness = Harness::start_with_services(services).await;
    let raw = harness.raw();
    let address = SocketAddr::from(([127, 96, 7, 7], 0));
    let server = HookServer::start_at(address, "hook.default.svc", |_, review| allow(review)).await;
    let IpAddr::V4(ip) = server.address.ip() else { panic!("an IPv4 address") };
    let port = server.address.port();
    let service =
        json!({"metadata": {"name": "hook"}, "spec": {"clusterIP": ip.to_string(), "ports": [{"port": port}]}});
    let made = raw.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(made.status, 201, "{}", made.message());
    let client = |port: u16| json!({"service": {"namespace": "default", "name": "hook", "path": "/a", "port": port}, "caBundle": server.ca_bundle()});
    configure(&raw, VALIDATING, "v", json!([hook("a.b.c", &client(port))])).await;
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.status, 201);
    assert_eq!(server.take().len(), 1);
    configure(&raw, VALIDATING, "w", json!([hook("w.b.c", &client(1))])).await;
    let said = raw.post(CONFIG_MAPS, &config_map("b")).await.message();
    assert!(said.ends_with("no service port 1 found for service \"hook\""), "{said}");
}

#[tokio::test]
async fn a_certificate_may_be_its_own_authority() {
    let server = HookServer::start_by_itself(|_, review| allow(review)).await;
    let other = HookServer::start_by_itself(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    configure(&raw, VALIDATING, "v", json!([hook("a.b.c", &server.client("/"))])).await;
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.status, 201);
    assert_eq!(server.take().len(), 1);
    let mut foreign = server.client("/");
    foreign["caBundle"] = json!(other.ca_bundle());
    configure(&raw, VALIDATING, "w", json!([hook("w.b.c", &foreign)])).await;
    let said = raw.post(CONFIG_MAPS, &config_map("b")).await.message();
    assert!(said.contains("tls: failed to verify certificate: x509: "), "{said}");
}

#[tokio::test]
async fn a_slow_webhook_holds_up_only_whom_it_concerns() {
    let server = HookServer::start(|path, review| if path == "/never" { Reply::Never } else { allow(review) }).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let services = "/api/v1/namespaces/default/services";
    let slow = json!({"rules": [rule("CREATE", "", "services")], "timeoutSeconds": 30, "objectSelector": {"matchLabels": {"slow": "1"}}});
    configure(&raw, VALIDATING, "v", json!([with(hook("a.b.c", &server.client("/never")), slow)])).await;
    let service = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {"ports": [{"port": 80}]}});
    let (held, other) = (service("held", json!({"slow": "1"})), harness.raw());
    let waiting = harness.tasks.spawn_transient("test", async move { drop(other.post(services, &held).await) });
    crate::support::eventually("the webhook is asked", || async { !server.take().is_empty() }).await;
    assert_eq!(raw.post(services, &service("free", json!({}))).await.status, 201);
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.status, 201);
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn conditions_decide_whether_it_is_asked() {
    let server = HookServer::start(|path, review| match path {
        "/label" => patch(review, json!([{"op": "add", "path": "/metadata/labels", "value": {"asked": "1"}}])),
        _ => allow(review),
    })
    .await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let all = |expressions: &[&str]| {
        let one = |(at, expression)| json!({"name": format!("c{at}"), "expression": expression});
        json!({"matchConditions": expressions.iter().enumerate().map(one).collect::<Vec<_>>()})
    };
    let named = all(&["request.operation == 'CREATE'", "object.data.a == 'b' && !request.name.startsWith('free')"]);
    configure(&raw, MUTATING, "m", json!([with(hook("m.b.c", &server.client("/label")), named)])).await;
    // It sees what the one before has made of the object, and what the caller may do.
    let labelled = all(&[
        "has(object.metadata.labels) && object.metadata.labels['asked'] == '1'",
        "authorizer.requestResource.check('create').allowed()",
        "oldObject == null",
    ]);
    configure(&raw, VALIDATING, "v", json!([with(hook("v.b.c", &server.client("/v")), labelled)])).await;
    let paths = || server.take().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.json()["metadata"]["labels"]["asked"], "1");
    assert_eq!(paths(), ["/label?timeout=10s", "/v?timeout=10s"]);
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("free")).await.status, 201);
    assert_eq!(raw.merge(&format!("{CONFIG_MAPS}/free"), &json!({"data": {"x": "y"}})).await.status, 200);
    assert_eq!(raw.delete(&format!("{CONFIG_MAPS}/free"), &Value::Null).await.status, 200);
    assert_eq!(paths(), [""; 0]);
}

#[tokio::test]
async fn conditions_that_cannot_be_told_are_the_failure_policy_s() {
    let server = HookServer::start(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let raw = harness.raw();
    let body = |policy: &str, expressions: &[&str]| {
        let one = |(at, expression)| json!({"name": format!("c{at}"), "expression": expression});
        let conditions: Vec<Value> = expressions.iter().enumerate().map(one).collect();
        with(hook("a.b.c", &server.client("/")), json!({"failurePolicy": policy, "matchConditions": conditions}))
    };
    let path = format!("{REGISTRATION}/validatingwebhookconfigurations/v");
    let change = async |hook: Value| {
        let changed = raw.merge(&path, &json!({"webhooks": [hook]})).await;
        assert_eq!(changed.status, 200, "{}", changed.message());
    };
    configure(&raw, VALIDATING, "v", json!([body("Fail", &["object.nope == 1", "true"])])).await;
    let refused = raw.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (
            403,
            "configmaps \"a\" is forbidden: expression 'object.nope == 1' resulted in error: no such key: nope"
                .to_owned()
        )
    );
    change(body("Fail", &["object.nope == 1", "object.data.nope == ''"])).await;
    assert!(raw.post(CONFIG_MAPS, &config_map("a")).await.message().contains("is forbidden: [expression 'object.nope"));
    change(body("Fail", &["object.nope == 1", "false"])).await;
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("a")).await.status, 201, "one that is false decides");
    change(body("Ignore", &["object.nope == 1"])).await;
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("b")).await.status, 201);
    assert!(server.take().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn a_flood_to_one_webhook_leaves_calls_for_the_others() {
    const FLOOD: usize = 130;
    const CALLS_EACH: usize = 32;
    let slow = HookServer::start(|_, _| Reply::Never).await;
    let quick = HookServer::start(|_, review| allow(review)).await;
    let harness = Harness::start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let rules = json!({"rules": [rule("CREATE", "", "secrets")], "timeoutSeconds": 30});
    configure(&harness.raw(), VALIDATING, "s", json!([with(hook("s.b.c", &slow.client("/")), rules)])).await;
    configure(&harness.raw(), VALIDATING, "q", json!([hook("q.b.c", &quick.client("/"))])).await;
    let held: Vec<_> = (0..FLOOD)
        .map(|number| {
            let raw = harness.raw();
            let secret = json!({"metadata": {"name": format!("s{number}")}});
            harness.tasks.spawn_transient("test", async move { drop(raw.post(secrets, &secret).await) })
        })
        .collect();
    let mut asked = 0;
    while asked < CALLS_EACH {
        asked += slow.take().len();
        tokio::task::yield_now().await;
    }
    let made = harness.raw().post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(made.status, 201, "{}", made.message());
    assert_eq!(asked + slow.take().len(), CALLS_EACH, "the others of the flood wait for their turn");
    held.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let harness = Harness::start().await;
    let client = json!({"url": "https://127.0.0.1:1/"});
    let conditions = json!({"matchConditions": [{"name": "x", "expression": "1"}], "timeoutSeconds": 31});
    let body = json!({"metadata": {"name": "m"}, "webhooks": [with(hook("a.b.c", &client), conditions)]});
    let refused = harness.raw().post(&format!("{REGISTRATION}/mutatingwebhookconfigurations"), &body).await;
    assert_eq!(refused.status, 422);
    for part in [
        "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        "webhooks[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
    ] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
}
