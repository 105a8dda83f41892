//! The activator with a Revision at zero.

use std::net::IpAddr;
use std::sync::Arc;

use base_net::{Body, Response};
use futures::FutureExt;
use futures::future::join_all;
use knative_apis::meta::Key;
use tokio::sync::mpsc;

use crate::rig::{PATIENCE, Rig, ServeFn, endpoints, environment, eventually, get, read, revision};

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn pod_ip() -> IpAddr {
    "10.1.0.1".parse().unwrap()
}

#[tokio::test]
async fn a_revision_at_zero_answers_all_who_waited() {
    let rig = Rig::new();
    let (sender, mut stats) = mpsc::channel(16);
    let activator = rig.activator(sender);
    activator.set_revision(&revision("hello-00001", 10, 300));
    let hello = key("hello-00001");
    // A response holds its slot until its body has been read.
    let ask = || async {
        let answer = activator.call(&hello, get("h", "/", &[])).await;
        (answer.status().as_u16(), read(answer).await)
    };
    let asking = join_all((0..100).map(|_| ask()));
    let starting = async {
        let first = tokio::time::timeout(PATIENCE, stats.recv()).await.unwrap().unwrap();
        assert_eq!(
            (first.key.to_string().as_str(), first.stat.pod_name.as_str()),
            ("default/hello-00001", "activator")
        );
        assert_eq!((first.stat.average_concurrent_requests, first.stat.request_count), (1.0, 1.0));
        eventually("all wait", || activator.load_of(&key("hello-00001")) == Some((100, 0))).await;
        let user = rig.user(|request| async move {
            let by = request.headers().get("k-proxy-request").cloned();
            Response::new(Body::from(format!("{:?}", by.unwrap())))
        });
        let container = rig.container(&environment(user, &[("CONTAINER_CONCURRENCY", "10")]), None);
        activator.set_endpoints(&key("hello-00001-private"), Some(&endpoints(&[pod_ip()], &[], 8012)));
        container
    };
    let (answers, container) = tokio::time::timeout(PATIENCE, async { tokio::join!(asking, starting) }).await.unwrap();
    assert_eq!(answers.len(), 100);
    for answer in answers {
        assert_eq!(answer, (200, "\"activator\"".to_owned()));
    }
    assert_eq!(activator.load_of(&key("hello-00001")), Some((0, 10)));
    drop(container);
}

#[tokio::test]
async fn a_pod_that_answers_is_used_before_it_is_ready() {
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    activator.set_revision(&revision("hello-00001", 0, 300));
    let user = rig.user(|_request| async { Response::new(Body::from("hello")) });
    let _container = rig.container(&environment(user, &[]), None);
    activator.set_endpoints(&key("hello-00001-private"), Some(&endpoints(&[], &[pod_ip()], 8012)));
    let hello = key("hello-00001");
    let answering = activator.call(&hello, get("h", "/", &[]));
    assert_eq!(read(tokio::time::timeout(PATIENCE, answering).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn who_waits_finds_a_revision_that_was_made_again() {
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    let user = rig.user(|_request| async { Response::new(Body::from("again")) });
    let _container = rig.container(&environment(user, &[]), None);
    let hello = key("hello-00001");
    activator.set_revision(&revision("hello-00001", 0, 300));
    let mut waiting = Box::pin(activator.call(&hello, get("h", "/", &[])));
    assert!((&mut waiting).now_or_never().is_none());
    activator.remove_revision(&hello);
    activator.set_revision(&revision("hello-00001", 0, 300));
    activator.set_endpoints(&key("hello-00001-private"), Some(&endpoints(&[pod_ip()], &[], 8012)));
    assert_eq!(read(tokio::time::timeout(PATIENCE, waiting).await.unwrap()).await, "again");
    let mut gone = Box::pin(activator.call(&hello, get("h", "/", &[])));
    activator.set_endpoints(&key("hello-00001-private"), None);
    assert!((&mut gone).now_or_never().is_none());
    activator.remove_revision(&hello);
    assert_eq!(tokio::time::timeout(PATIENCE, gone).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_pod_whose_container_takes_no_connection_is_not_the_only_one() {
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    activator.set_revision(&revision("hello-00001", 1, 300));
    let user = rig.user(|_request| async { Response::new(Body::from("hello")) });
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _good = rig.container(&environment(user, &[]), None);
    let _bad = rig.container(&environment(nobody, &[("SERVING_POD_IP", "10.1.0.2")]), None);
    let both = endpoints(&[pod_ip(), "10.1.0.2".parse().unwrap()], &[], 8012);
    activator.set_endpoints(&key("hello-00001-private"), Some(&both));
    for _ in 0..4 {
        let hello = key("hello-00001");
        let answering = activator.call(&hello, get("h", "/", &[]));
        assert_eq!(read(tokio::time::timeout(PATIENCE, answering).await.unwrap()).await, "hello");
    }
}

#[tokio::test]
async fn more_than_may_wait_are_refused() {
    const DEPTH: usize = 10_000;
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    activator.set_revision(&revision("hello-00001", 1, 300));
    let hello = key("hello-00001");
    let mut waiting: Vec<_> = (0..DEPTH).map(|_| Box::pin(activator.call(&hello, get("h", "/", &[])))).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
    let refused = activator.call(&hello, get("h", "/", &[])).await;
    assert_eq!((refused.status().as_u16(), read(refused).await.as_str()), (503, "pending request queue full"));
    // Who goes away makes room.
    waiting.pop();
    assert!(activator.call(&hello, get("h", "/", &[])).now_or_never().is_none());
    assert_eq!(activator.load_of(&hello), Some((DEPTH - 1, 0)));
}

#[tokio::test]
async fn a_pod_that_never_comes() {
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    activator.set_revision(&revision("hello-00001", 0, 1));
    let answer = activator.call(&Key::new("default", "hello-00001"), get("h", "/", &[])).await;
    assert_eq!(answer.status(), 504);
    assert_eq!(read(answer).await, "activator request timeout");
    assert_eq!(activator.load_of(&key("hello-00001")).unwrap().0, 0, "nobody waits any more");
}

#[tokio::test]
async fn whoever_asks_over_a_socket_names_the_revision() {
    let rig = Rig::new();
    let activator = rig.activator(mpsc::channel(16).0);
    let user = rig.user(|request| async move {
        let has_names = request.headers().keys().any(|name| name.as_str().starts_with("knative-serving"));
        Response::new(Body::from(format!("names: {has_names}")))
    });
    let _container = rig.container(&environment(user, &[]), None);
    activator.set_revision(&revision("hello-00001", 0, 300));
    activator.set_endpoints(&key("hello-00001-private"), Some(&endpoints(&[pod_ip()], &[], 8012)));
    let answering = Arc::clone(&activator);
    let addr = rig.serve(ServeFn(move |request| {
        let activator = Arc::clone(&answering);
        async move { activator.answer(request).await }
    }));
    let named = [("knative-serving-revision", "hello-00001"), ("knative-serving-namespace", "default")];
    let unknown = [("knative-serving-revision", "other"), ("knative-serving-namespace", "default")];
    for (host, headers, expected) in [
        ("hello.example", &named[..], (200, "names: false")),
        ("hello-00001.default.svc.cluster.local", &[], (200, "names: false")),
        ("hello.example", &unknown, (404, "")),
        ("hello.example", &[], (404, "")),
        ("hello.example", &[("k-network-probe", "activator")], (200, "activator")),
        ("hello.example", &[("user-agent", "kube-probe/1.34")], (200, "")),
    ] {
        let (status, body) = rig.ask(addr, get(host, "/", headers)).await;
        assert_eq!((status, body.as_str()), expected, "{host} {headers:?}");
    }
}
