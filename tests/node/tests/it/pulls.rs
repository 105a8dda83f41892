//! Images that registries give only to those who say who they are.

use std::convert::Infallible;
use std::net::SocketAddr;

use base_image::registry_server::{Access, Registry, RegistryBody};
use base_image::{OwnNames, Store};
use base_rt::Clock;
use base_rt::metrics::Scope;
use cluster_workloads::node::builtin::Builtins;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::harness::{Ground, NODE, is_ready, put_image, run, status};

/// `user:pass`.
const BASIC: &str = "Basic dXNlcjpwYXNz";

/// How a registry wants to know who asks.
#[derive(Clone, Copy)]
enum Wants {
    Basic,
    Token,
}

fn answer(status: u16, challenge: &str, body: &str) -> Response<RegistryBody> {
    let body = Full::from(body.to_owned()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("www-authenticate", challenge).body(body).unwrap()
}

/// What a registry says to whom it does not let in.
fn refuses(wants: Wants, request: &Request<Incoming>) -> Option<Response<RegistryBody>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (known, host) = (header("authorization"), header("host"));
    match wants {
        Wants::Basic => (known != BASIC).then(|| answer(401, "Basic realm=\"x\"", "")),
        Wants::Token if request.uri().path() == "/token" => Some(match known {
            BASIC => answer(200, "", r#"{"token":"secret","expires_in":300}"#),
            _ => answer(401, "Basic realm=\"x\"", ""),
        }),
        Wants::Token => {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
            (known != "Bearer secret").then(|| answer(401, &challenge, ""))
        }
    }
}

/// A registry with the images of `store`.
async fn registry(store: &Store, wants: Wants) -> SocketAddr {
    let registry = Registry::new(store.clone(), Clock::system(), &Scope::root());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let registry = registry.clone();
            let service = service_fn(move |request| {
                let registry = registry.clone();
                async move {
                    Ok::<_, Infallible>(match refuses(wants, &request) {
                        Some(refusal) => refusal,
                        None => registry.handle(request, Access::Pull).await,
                    })
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn pod(name: &str, image: &str, policy: &str, more: Value) -> Value {
    let mut spec = json!({
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "image": image, "imagePullPolicy": policy, "args": ["serve", "8080"]}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn make_secret(ground: &Ground, name: &str, hosts: &[SocketAddr]) {
    let auths: serde_json::Map<_, _> =
        hosts.iter().map(|host| (host.to_string(), json!({"username": "user", "password": "pass"}))).collect();
    let secret = json!({
        "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json!({"auths": auths}).to_string()},
    });
    let secrets: Api<Secret> = Api::namespaced(ground.client(), "default");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
}

/// The reason of a container that waits, and more about it.
fn waits(pod: &Pod) -> (String, String) {
    let has_status = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
    let state = if has_status { status(pod, 0).state } else { None };
    let waiting = state.and_then(|state| state.waiting).unwrap_or_default();
    (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
}

#[test]
fn who_has_the_secret_gets_the_image() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let there = Store::open(directory.path(), OwnNames::new("own.example", ["127.0.0.1:1"])).unwrap();
        put_image(&there, "own.example/app:1", Some("far"));
        let (basic, token) = (registry(&there, Wants::Basic).await, registry(&there, Wants::Token).await);
        let (by_basic, by_token) = (format!("{basic}/app:1"), format!("{token}/app:1"));
        make_secret(&ground, "pull", &[basic, token]).await;
        let account = json!({"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "pull"}]});
        let accounts: Api<ServiceAccount> = Api::namespaced(ground.client(), "default");
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let secrets = |name: &str| json!({"imagePullSecrets": [{"name": name}]});
        // Nobody has it yet: without the secret there is none, and none is asked for where none may be.
        ground.create(pod("nobody", &by_token, "IfNotPresent", json!({}))).await;
        ground.create(pod("never", &by_token, "Never", secrets("pull"))).await;
        let refused = ground.eventually("nobody", "back-off", |pod| waits(pod).0 == "ImagePullBackOff").await;
        let message = waits(&refused).1;
        assert!(message.starts_with(&format!("Back-off pulling image {by_token:?}: ErrImagePull: ")), "{message}");
        let events = ground.events("nobody").await;
        assert!(events.contains(&format!("Failed to pull image {by_token:?}: ")), "{events}");
        ground.eventually("never", "refusal", |pod| waits(pod).0 == "ErrImageNeverPull").await;
        ground.delete("never").await;
        ground.delete("nobody").await;
        // By the Pod's own secret, and by its account's.
        ground.create(pod("own", &by_basic, "IfNotPresent", secrets("pull"))).await;
        ground.create(pod("account", &by_token, "IfNotPresent", json!({"serviceAccountName": "puller"}))).await;
        for name in ["own", "account"] {
            ground.eventually(name, "readiness", is_ready).await;
            let events = ground.events(name).await;
            assert!(events.contains("Successfully pulled image"), "{events}");
        }
        // What is here needs no secret, unless its registry is asked each time.
        ground.create(pod("present", &by_basic, "Never", json!({}))).await;
        ground.eventually("present", "readiness", is_ready).await;
        ground.create(pod("asked", &by_basic, "Always", secrets("late"))).await;
        ground.eventually("asked", "refusal", |pod| waits(pod).0 == "ErrImagePull").await;
        make_secret(&ground, "late", &[basic]).await;
        ground.eventually("asked", "readiness", is_ready).await;
        for name in ["own", "account", "present", "asked"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}
