//! The whole stack: in one process without a hop, and cut at each seam. Both ways answer the same.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base_controller::Key;
use base_net::serve::Peer;
use base_net::{Body, Request, Response};
use http::Method;
use knative_apis::meta;
use knative_proxy::gateway::Side;
use tokio::sync::mpsc;

use crate::rig::{Rig, ServeFn, endpoints, environment, get, ingress, revision, service};

async fn user(request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if path == "/missing" {
        let mut response = Response::new(Body::from("nothing here"));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        return response;
    }
    let proxied = request.headers().contains_key("k-proxy-request");
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let body = request.into_body().read(1 << 20).await.unwrap();
    Response::new(Body::from(format!("{method} {host}{path} {proxied} {}", String::from_utf8_lossy(&body))))
}

/// What each of some requests is answered, through a gateway at `addr`.
async fn answers(rig: &Rig, addr: SocketAddr) -> Vec<(u16, String)> {
    let mut post = get("a.example", "/post", &[]);
    *post.method_mut() = Method::POST;
    *post.body_mut() = Body::from("x".repeat(100_000));
    let mut all = Vec::new();
    for request in [get("a.example", "/", &[]), get("a.example", "/missing", &[]), get("b.example", "/", &[]), post] {
        all.push(rig.ask(addr, request).await);
    }
    all
}

#[tokio::test]
async fn cut_or_not_the_answers_are_the_same() {
    let mut seen = Vec::new();
    for (is_activator_here, is_queue_here) in [(true, true), (true, false), (false, false)] {
        let rig = Rig::new();
        // The Pod: found in the table, or on a socket of its own.
        let pod_ip: IpAddr = "127.0.0.1".parse().unwrap();
        let address = environment(rig.user(user), &[("SERVING_POD_IP", if is_queue_here { "127.0.0.1" } else { "" })]);
        let container = rig.container(&address, None);
        let activator = rig.activator(mpsc::channel(16).0);
        let answering = Arc::clone(&activator);
        let activator_addr = rig.serve(ServeFn(move |request| {
            let activator = Arc::clone(&answering);
            async move { activator.answer(request).await }
        }));
        let gateway = rig.gateway(is_activator_here.then(|| Arc::clone(&activator)));
        gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
        gateway.swap();
        let public = rig.serve(gateway.service(Side::Public, &Peer::default()));
        activator.set_revision(&revision("a-1", 0, 300));
        // First by the activator, then straight to the Pod.
        let to_activator = endpoints(&[activator_addr.ip()], &[], activator_addr.port());
        gateway.set_activators(Some(&to_activator));
        gateway.set_backend(&Key::new("default", "a-1"), Some(&service()), Some(&to_activator));
        let _forwarded = (!is_queue_here).then(|| forward(&rig, container.ports[&8012]));
        let ready = endpoints(&[pod_ip], &[], 8012);
        activator.set_endpoints(&meta::Key::new("default", "a-1-private"), Some(&ready));
        assert!(gateway.leads_to_activator(&meta::Key::new("default", "a-1"), 80));
        let proxied = answers(&rig, public).await;
        gateway.set_activators(None);
        gateway.set_backend(&Key::new("default", "a-1"), Some(&service()), Some(&ready));
        let straight = answers(&rig, public).await;
        seen.push((proxied, straight));
    }
    let (proxied, straight) = &seen[0];
    assert_eq!(proxied[0], (200, "GET a.example/ true ".to_owned()));
    assert_eq!(straight[0], (200, "GET a.example/ false ".to_owned()));
    assert_eq!((proxied[1].0, proxied[2].0), (404, 404));
    assert!(proxied[3].1.ends_with(&"x".repeat(100_000)));
    assert!(
        seen.iter().all(|one| one == &seen[0]),
        "{:?}",
        seen.iter().map(|(p, s)| (&p[0], &s[0])).collect::<Vec<_>>()
    );
}

/// Pods serve on 8012, of which a test's machine has one: a call to it that goes on over a socket to where the Pod is.
fn forward(rig: &Rig, to: SocketAddr) -> base_net::connect::LocalEntry {
    let upstream = rig.upstream();
    let handler = move |request: Request| -> futures::future::BoxFuture<'static, _> {
        let upstream = upstream.clone();
        Box::pin(async move {
            let target = base_net::connect::Target::http1(to);
            upstream.send(&target, request).await.map_err(|unanswered| unanswered.cause)
        })
    };
    rig.local.insert("127.0.0.1:8012".parse().unwrap(), Arc::new(handler))
}
