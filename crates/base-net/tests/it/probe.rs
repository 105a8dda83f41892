//! Probes against real servers.

use std::time::Duration;

use base_net::connect::{Connector, Target};
use base_net::probe::{HttpProbe, Probe, ProbeError};
use base_net::serve::ServerConfig;
use base_net::{Body, Response};
use http::{HeaderMap, HeaderValue};

use crate::rig::{PATIENCE, Rig, loopback};

async fn run(rig: &Rig, probe: Probe) -> Result<(), ProbeError> {
    probe.run(&Connector::new(), &rig.tasks, PATIENCE).await
}

#[tokio::test]
async fn an_http_probe_wants_a_good_status() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(ServerConfig::new("app"), |request| {
        let is_meant = request.headers()["host"] == "me"
            && request.headers()["user-agent"].to_str().unwrap().starts_with("kube-probe/");
        let status = if is_meant { request.uri().path().trim_matches('/').parse().unwrap() } else { 400 };
        std::future::ready(http::Response::builder().status(status).body(Body::from("told")).unwrap())
    });
    let probe = |path: &str| {
        let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("me"))]);
        Probe::Http(HttpProbe { target: Target::http1(addr), path: path.to_owned(), headers })
    };
    for path in ["200", "/302"] {
        assert!(run(&rig, probe(path)).await.is_ok(), "{path}");
    }
    let error = run(&rig, probe("/503")).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP probe failed with statuscode: 503");
    assert!(matches!(run(&rig, probe("/a b")).await, Err(ProbeError::Request(_))));
}

#[tokio::test]
async fn a_tcp_probe_wants_a_connection() {
    let rig = Rig::new();
    let listener = std::net::TcpListener::bind(loopback()).unwrap();
    let target = Target::http1(listener.local_addr().unwrap());
    assert!(run(&rig, Probe::Tcp(target.clone())).await.is_ok());
    drop(listener);
    assert!(matches!(run(&rig, Probe::Tcp(target)).await, Err(ProbeError::Dial(_))));
}

#[tokio::test]
async fn a_grpc_probe_wants_to_hear_serving() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(ServerConfig::new("app"), |request| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let asked = request.into_body().read(100).await.unwrap();
        let status = if asked.ends_with(b"good") { 1 } else { 2 };
        let (sender, body) = Body::channel(2);
        sender.send(vec![0, 0, 0, 0, 2, 8, status]).await.unwrap();
        sender
            .finish_with(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]))
            .await
            .unwrap();
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    });
    let probe = |service: &str| Probe::Grpc { target: Target::http1(addr), service: service.to_owned() };
    assert!(run(&rig, probe("good")).await.is_ok());
    let error = run(&rig, probe("")).await.unwrap_err();
    assert_eq!(error.to_string(), "service unhealthy (responded with \"NOT_SERVING\")");
}

#[tokio::test]
async fn a_probe_has_a_bound() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(ServerConfig::new("app"), |_| std::future::pending());
    let probe = Probe::Http(HttpProbe { target: Target::http1(addr), path: "/".into(), headers: HeaderMap::new() });
    let bound = Duration::from_millis(50);
    assert!(
        matches!(probe.run(&Connector::new(), &rig.tasks, bound).await, Err(ProbeError::Timeout(after)) if after == bound)
    );
}
