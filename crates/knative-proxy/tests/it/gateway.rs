//! The gateway with Ingresses of its class.

use std::net::SocketAddr;
use std::sync::Arc;

use base_controller::Key;
use base_net::connect::{Connector, LocalTable, Target};
use base_net::listen::Listener;
use base_net::serve::Peer;
use base_net::tls::{Trust, client_config};
use base_net::workers::DataPlane;
use base_net::{Body, Response};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use knative_proxy::Upstream;
use knative_proxy::gateway::{Gateway, Leads, Side};
use rcgen::generate_simple_self_signed;
use serde_json::json;
use tokio::sync::mpsc;

use crate::rig::{Rig, endpoints, get, ingress, loopback, read, revision, say, service};

fn addr_of(rig: &Rig, gateway: &Arc<Gateway>, side: Side) -> SocketAddr {
    rig.serve(gateway.service(side, &Peer::default()))
}

/// A backend that says its name and the headers that matter.
fn backend(rig: &Rig, name: &'static str) -> SocketAddr {
    rig.user(move |request| async move {
        let of = |header: &str| request.headers().get(header).map_or("-", |v| v.to_str().unwrap()).to_owned();
        let seen = [of("host"), of("knative-serving-revision"), of("k-proxy-request"), of("x-forwarded-proto")];
        Response::new(Body::from(format!("{name} {}", seen.join(" "))))
    })
}

fn lead(gateway: &Gateway, name: &str, to: SocketAddr) {
    gateway.set_backend(&Key::new("default", name), Some(&service()), Some(&endpoints(&[to.ip()], &[], to.port())));
}

#[tokio::test]
async fn hosts_sides_and_headers() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "a"));
    lead(&gateway, "b-1", backend(&rig, "b"));
    gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
    gateway.set_ingress(
        &Key::new("default", "b"),
        Some(&ingress("b", "b.default.svc.cluster.local", "ClusterLocal", "b-1")),
    );
    gateway.swap();
    let (public, private) = (addr_of(&rig, &gateway, Side::Public), addr_of(&rig, &gateway, Side::Private));
    let spoofed = [("knative-serving-revision", "other"), ("k-proxy-request", "activator")];
    for (addr, host, headers, expected) in [
        (public, "a.example", &[][..], (200, "a a.example a-1 - http")),
        (public, "A.example:8080", &[], (200, "a A.example:8080 a-1 - http")),
        (public, "a.example", &spoofed, (200, "a a.example a-1 - http")),
        (public, "unknown.example", &[], (404, "")),
        (public, "b.default.svc.cluster.local", &[], (404, "")),
        (private, "b.default.svc.cluster.local", &[], (200, "b b.default.svc.cluster.local b-1 - http")),
        (private, "a.example", &[], (200, "a a.example a-1 - http")),
    ] {
        let (status, body) = rig.ask(addr, get(host, "/", headers)).await;
        assert_eq!((status, body.as_str()), expected, "{host} {headers:?}");
    }
}

/// What a backend is asked over a connection that says this.
fn asked(request: &str, headers: &str) -> String {
    format!("{request}\r\n{headers}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn a_client_cannot_have_headers_removed_that_are_relied_on() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "a"));
    gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
    gateway.swap();
    let public = addr_of(&rig, &gateway, Side::Public);
    let named = "Connection: Host, Knative-Serving-Revision, X-Forwarded-Proto, X-Mine\r\nX-Mine: 1\r\n";
    let answer = say(public, &asked("GET / HTTP/1.1", &format!("Host: a.example\r\n{named}"))).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("a a.example a-1 - http"), "{answer}");
}

#[tokio::test]
async fn a_request_is_for_one_host() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "a"));
    gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
    gateway.swap();
    let public = addr_of(&rig, &gateway, Side::Public);
    for (request, hosts, status, end) in [
        ("GET / HTTP/1.1", "Host: a.example\r\n", 200, "a a.example a-1 - http"),
        ("GET http://a.example/ HTTP/1.1", "Host: b.example\r\n", 200, "a a.example a-1 - http"),
        ("GET http://b.example/ HTTP/1.1", "Host: a.example\r\n", 404, ""),
        ("GET / HTTP/1.1", "Host: a.example\r\nHost: a.example\r\n", 400, ""),
        ("GET / HTTP/1.1", "", 400, ""),
    ] {
        let answer = say(public, &asked(request, hosts)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end),
            "{request} {hosts}: {answer}"
        );
    }
}

#[tokio::test]
async fn tls_may_end_at_a_proxy_nearby() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "a"));
    let mut redirected = ingress("a", "a.example", "ExternalIP", "a-1");
    gateway.set_ingress(&Key::new("default", "a"), Some(&redirected));
    gateway.swap();
    let from = |remote: &str| Peer { remote: Some(remote.parse().unwrap()), ..Peer::default() };
    let [near, far] =
        ["10.0.0.7:1", "192.0.2.1:1"].map(|remote| rig.serve(gateway.service(Side::Public, &from(remote))));
    let by_tls = || get("a.example", "/", &[("x-forwarded-proto", "https")]);
    assert_eq!(rig.ask(near, by_tls()).await.1, "a a.example a-1 - https");
    assert_eq!(rig.ask(near, get("a.example", "/", &[])).await.1, "a a.example a-1 - http");
    assert_eq!(rig.ask(far, by_tls()).await.1, "a a.example a-1 - http", "anybody may say so");
    redirected.spec.http_option = knative_apis::networking::HttpOption::Redirected;
    redirected.spec.tls = serde_json::from_value(json!([{"hosts": ["a.example"], "secretName": "s"}])).unwrap();
    gateway.set_ingress(&Key::new("default", "a"), Some(&redirected));
    gateway.swap();
    assert_eq!(rig.ask(near, by_tls()).await.0, 200, "it came by TLS");
    let answer = rig.response(near, get("a.example:8080", "/x?y", &[])).await;
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"], "https://a.example:8443/x?y");
    assert_eq!(rig.ask(far, by_tls()).await.0, 301);
}

#[tokio::test]
async fn a_probe_is_told_the_version() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    let a = ingress("a", "a.example", "ExternalIP", "a-1");
    gateway.set_ingress(&Key::new("default", "a"), Some(&a));
    gateway.swap();
    let public = addr_of(&rig, &gateway, Side::Public);
    let probe = [("k-network-probe", "probe"), ("k-network-hash", "override")];
    let answer = rig.response(public, get("a.example", "/healthz", &probe)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["k-network-hash"], knative_logic::route_table::ingress_hash(&a));
    assert_eq!(rig.ask(public, get("b.example", "/healthz", &probe)).await.0, 404);
}

#[tokio::test]
async fn a_split_and_a_tag() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "one"));
    lead(&gateway, "a-2", backend(&rig, "two"));
    let split = |name: &str, percent: u32| json!({"serviceNamespace": "default", "serviceName": name, "servicePort": 80, "percent": percent});
    let both = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "a", "annotations": {"networking.knative.dev/ingress.class": "kwick"}},
        "spec": {"rules": [{"hosts": ["a.example"], "visibility": "ExternalIP", "http": {"paths": [
            {"headers": {"Knative-Serving-Tag": {"exact": "two"}}, "splits": [split("a-2", 100)]},
            {"splits": [split("a-1", 50), split("a-2", 50)]},
        ]}}]},
    }))
    .unwrap();
    gateway.set_ingress(&Key::new("default", "a"), Some(&both));
    gateway.swap();
    let public = addr_of(&rig, &gateway, Side::Public);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (_, body) = rig.ask(public, get("a.example", "/", &[])).await;
        seen.insert(body.split(' ').next().unwrap().to_owned());
        let (_, tagged) = rig.ask(public, get("a.example", "/", &[("knative-serving-tag", "two")])).await;
        assert!(tagged.starts_with("two "), "{tagged}");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["one", "two"]);
}

#[tokio::test]
async fn a_mapped_domain_is_its_host() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    let original = |request: base_net::Request| async move {
        let of = |header: &str| request.headers()[header].to_str().unwrap().to_owned();
        Response::new(Body::from([of("host"), of("k-original-host"), of("knative-serving-revision")].join(" ")))
    };
    lead(&gateway, "a-1", rig.user(original));
    gateway.set_ingress(
        &Key::new("default", "a"),
        Some(&ingress("a", "a.default.svc.cluster.local", "ClusterLocal", "a-1")),
    );
    let split = json!({"serviceNamespace": "default", "serviceName": "a", "servicePort": 80, "percent": 100});
    let mapped = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "m", "annotations": {"networking.knative.dev/ingress.class": "kwick"}},
        "spec": {"rules": [{"hosts": ["www.example"], "visibility": "ExternalIP", "http": {"paths": [
            {"rewriteHost": "a.default.svc.cluster.local", "splits": [split], "appendHeaders": {"K-Original-Host": "www.example"}},
        ]}}]},
    }))
    .unwrap();
    gateway.set_ingress(&Key::new("default", "m"), Some(&mapped));
    gateway.swap();
    let answer = rig.ask(addr_of(&rig, &gateway, Side::Public), get("www.example", "/", &[])).await;
    assert_eq!(answer, (200, "a.default.svc.cluster.local www.example a-1".to_owned()));
}

#[tokio::test]
async fn a_url_is_explained_without_a_request() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", loopback());
    let class = json!({"networking.knative.dev/ingress.class": "kwick"});
    let to = |service: &str, percent: i32| {
        let revision = json!({"Knative-Serving-Revision": service, "Knative-Serving-Namespace": "default"});
        json!({"serviceNamespace": "default", "serviceName": service, "servicePort": 80, "percent": percent, "appendHeaders": revision})
    };
    let split = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "a", "annotations": class},
        "spec": {"rules": [
            {"hosts": ["a.example"], "visibility": "ExternalIP", "http": {"paths": [{"splits": [to("a-1", 75), to("a-2", 25)]}]}},
            {"hosts": ["a.local"], "visibility": "ClusterLocal", "http": {"paths": [{"splits": [to("a-1", 100)]}]}},
        ]},
    }));
    let mapped = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "m", "annotations": class},
        "spec": {"rules": [{"hosts": ["www.example"], "visibility": "ExternalIP", "http": {"paths": [{
            "rewriteHost": "a.local",
            "splits": [{"serviceNamespace": "default", "serviceName": "a", "servicePort": 80, "percent": 100}],
        }]}}]},
    }));
    gateway.set_ingress(&Key::new("default", "a"), Some(&split.unwrap()));
    gateway.set_ingress(&Key::new("default", "m"), Some(&mapped.unwrap()));
    gateway.swap();
    let explain = |url: &str| gateway.explain(&url.parse().unwrap());
    let found = explain("http://A.example:8080/x").unwrap();
    assert_eq!((found.ingress.to_string().as_str(), found.is_cluster_local), ("default/a", false));
    let shares: Vec<_> =
        found.shares.iter().map(|share| (share.percent, share.service.name.as_str(), share.leads_to)).collect();
    assert_eq!(shares, [(75, "a-1", Leads::Pods), (25, "a-2", Leads::Nowhere)]);
    assert!(explain("http://a.local/").unwrap().is_cluster_local);
    let inner = explain("http://www.example/").unwrap().stands_for.unwrap();
    assert_eq!((inner.host.as_str(), inner.shares[0].addresses), ("a.local", 1));
    assert_eq!(explain("http://b.example/"), None);
}

#[tokio::test]
async fn pods_that_are_gone() {
    let rig = Rig::new();
    let (alone, together) = (rig.gateway(None), {
        let activator = rig.activator(mpsc::channel(16).0);
        activator.set_revision(&revision("a-1", 0, 300));
        let there = endpoints(&["10.1.0.7".parse().unwrap()], &[], 8012);
        activator.set_endpoints(&knative_apis::meta::Key::new("default", "a-1-private"), Some(&there));
        rig.gateway(Some(activator))
    });
    let answering: Arc<dyn base_net::connect::LocalHandler> =
        Arc::new(|_request| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async { Ok(Response::new(Body::from("new pod"))) })
        });
    let _pod = rig.local.insert("10.1.0.7:8012".parse().unwrap(), answering);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for gateway in [&alone, &together] {
        gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
        gateway.swap();
    }
    assert_eq!(rig.ask(addr_of(&rig, &alone, Side::Public), get("a.example", "/", &[])).await.0, 503, "no Service");
    lead(&alone, "a-1", gone);
    assert_eq!(rig.ask(addr_of(&rig, &alone, Side::Public), get("a.example", "/", &[])).await.0, 502, "nobody listens");
    lead(&together, "a-1", gone);
    let answer = rig.ask(addr_of(&rig, &together, Side::Public), get("a.example", "/", &[])).await;
    assert_eq!(answer, (200, "new pod".to_owned()), "the activator knows better");
}

/// A certificate for a host, as PEM, and the Secret that holds it.
fn certificate(host: &str) -> (String, Secret) {
    let made = generate_simple_self_signed([host.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let data = [("tls.crt", &certificate), ("tls.key", &key)];
    let data = data.map(|(name, pem)| (name.to_owned(), ByteString(pem.clone().into_bytes())));
    (certificate, Secret { data: Some(data.into()), ..Secret::default() })
}

#[tokio::test]
async fn a_host_has_the_certificate_that_its_ingress_names() {
    let rig = Rig::new();
    let gateway = rig.gateway(None);
    lead(&gateway, "a-1", backend(&rig, "a"));
    let mut with_tls = ingress("a", "a.example", "ExternalIP", "a-1");
    with_tls.spec.tls =
        serde_json::from_value(json!([{"hosts": ["a.example"], "secretName": "cert", "secretNamespace": "default"}]))
            .unwrap();
    gateway.set_ingress(&Key::new("default", "a"), Some(&with_tls));
    gateway.swap();
    let plane = DataPlane::start("test", 1, &rig.tasks).unwrap();
    let listener = Listener::tcp(loopback()).unwrap();
    let addr = listener.local_addr().unwrap();
    gateway.serve(&plane, Side::Public, vec![listener], &rig.tasks).await.unwrap();
    let ask = async |trusted: &str| {
        let tls = client_config(Trust::Authorities(trusted.as_bytes()), None).unwrap();
        let connector = Connector::new().with_tls(tls);
        let upstream = Upstream::new(LocalTable::default(), connector, 0, (&rig.tasks, &rig.metrics));
        let target = Target::http1(addr).with_tls("a.example".try_into().unwrap());
        match upstream.send(&target, get("a.example", "/", &[])).await {
            Ok(response) => read(response).await,
            Err(_) => "refused".to_owned(),
        }
    };
    let ((first, secret), (second, renewed)) = (certificate("a.example"), certificate("a.example"));
    let secret_key = Key::new("default", "cert");
    assert_eq!(ask(&first).await, "refused", "the Secret is not there yet");
    gateway.set_secret(&secret_key, Some(&secret));
    assert_eq!(ask(&first).await, "a a.example a-1 - https");
    assert_eq!(rig.ask(addr, get("a.example", "/", &[])).await.1, "a a.example a-1 - http", "on the same port");
    gateway.set_secret(&secret_key, Some(&renewed));
    assert_eq!((ask(&first).await, ask(&second).await), ("refused".to_owned(), "a a.example a-1 - https".to_owned()));
    gateway.set_ingress(&Key::new("default", "a"), None);
    assert_eq!(ask(&second).await, "refused", "nobody asks for TLS any more");
}
