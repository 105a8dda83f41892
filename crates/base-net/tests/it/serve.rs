//! The server: protocols, bounds, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base_net::connect::Target;
use base_net::listen::Listener;
use base_net::serve::{Server, ServerConfig};
use base_net::{Body, Response};
use base_rt::Phase;
use tokio::sync::{Notify, Semaphore};

use crate::rig::{PATIENCE, Raw, Rig, ask, echo, eventually, post, service, text};

const CONFIG: ServerConfig = ServerConfig::new("test");

#[tokio::test]
async fn http1_and_http2_are_told_apart_on_one_port() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, echo);
    let pool = rig.pool();
    assert_eq!(ask(&pool, &Target::http1(addr), "/one").await, "GET /one ");
    assert_eq!(ask(&pool, &Target::http2(addr), "/two").await, "GET /two ");
    let long = "x".repeat(500_000);
    for target in [Target::http1(addr), Target::http2(addr)] {
        assert_eq!(text(pool.send(&target, post("/p", long.clone())).await).await, format!("POST /p {long}"));
    }
    // A first byte that comes alone, and one that HTTP/2 shares with HTTP/1.1.
    let mut raw = Raw::connect(addr).await;
    raw.say("P").await;
    tokio::task::yield_now().await;
    raw.say("UT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab").await;
    raw.hear("PUT /x ab").await;
}

#[tokio::test]
async fn a_unix_socket_is_served_alike() {
    let rig = Rig::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = Server::new(CONFIG, &rig.tasks, &rig.metrics);
    server.start(Listener::unix(&path).unwrap(), |_| service(echo)).unwrap();
    assert_eq!(ask(&rig.pool(), &Target::unix(&path), "/u").await, "GET /u ");
}

#[tokio::test]
async fn what_is_in_flight_finishes_when_the_process_is_lame() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let entered = Arc::new(Notify::new());
    let (wait, enter) = (Arc::clone(&gate), Arc::clone(&entered));
    let (addr, server) = rig.serve(CONFIG, move |request| {
        let (wait, enter) = (Arc::clone(&wait), Arc::clone(&enter));
        async move {
            enter.notify_one();
            drop(wait.acquire().await.unwrap());
            echo(request).await
        }
    });
    let (mut busy, mut idle) = (Raw::connect(addr).await, Raw::connect(addr).await);
    let http2 = (rig.pool(), Target::http2(addr));
    let in_flight = async {
        let request = ask(&http2.0, &http2.1, "/h2");
        let ending = async {
            entered.notified().await;
            busy.say("GET /h1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
            entered.notified().await;
            rig.shutdown.advance(Phase::Lame);
            assert_eq!(idle.hear_all().await, "", "an idle connection is closed");
            eventually("nobody listens", || std::net::TcpStream::connect(addr).is_err()).await;
            gate.add_permits(2);
        };
        tokio::join!(request, ending).0
    };
    assert_eq!(tokio::time::timeout(PATIENCE, in_flight).await.unwrap(), "GET /h2 ");
    assert!(busy.hear_all().await.ends_with("GET /h1 "), "answered, then closed");
    tokio::time::timeout(PATIENCE, server.drained()).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_what_does_not_finish() {
    let rig = Rig::new();
    let (addr, server) = rig.serve(CONFIG, |_request| std::future::pending());
    let mut raw = Raw::connect(addr).await;
    raw.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is there", || rig.metric("test_connections ") == 1.0).await;
    rig.shutdown.advance(Phase::Lame);
    rig.shutdown.advance(Phase::Stopped);
    assert_eq!(raw.hear_all().await, "");
    tokio::time::timeout(PATIENCE, server.drained()).await.unwrap();
    tokio::time::timeout(PATIENCE, rig.tasks.finished()).await.unwrap();
}

#[tokio::test]
async fn connections_without_a_request_are_closed() {
    let rig = Rig::new();
    let config =
        ServerConfig { header_timeout: Duration::from_millis(80), idle_timeout: Duration::from_millis(80), ..CONFIG };
    let (addr, _) = rig.serve(config, |request| async move {
        // Longer than a connection may be idle.
        tokio::time::sleep(Duration::from_millis(400)).await;
        echo(request).await
    });
    let (mut silent, mut slow, mut used) =
        (Raw::connect(addr).await, Raw::connect(addr).await, Raw::connect(addr).await);
    slow.say("GET / HTTP/1.1\r\nhost").await;
    used.say("GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(silent.hear_all().await, "");
    assert_eq!(slow.hear_all().await, "", "half a head is none");
    assert!(used.hear_all().await.ends_with("GET /long "), "served, then idle, then closed");
}

#[tokio::test]
async fn connections_are_bounded() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(ServerConfig { max_connections: 1, ..CONFIG }, echo);
    let mut first = Raw::connect(addr).await;
    first.say("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    first.hear("GET /1 ").await;
    let mut second = Raw::connect(addr).await;
    second.say("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the bound is met", || rig.metric("test_at_limit_total") >= 1.0).await;
    assert_eq!(rig.metric("test_accepted_total"), 1.0);
    drop(first);
    second.hear("GET /2 ").await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, |request| async move {
        assert_ne!(request.uri().path(), "/bad", "as asked");
        echo(request).await
    });
    let (mut good, mut bad) = (Raw::connect(addr).await, Raw::connect(addr).await);
    bad.say("GET /bad HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(bad.hear_all().await, "");
    good.say("GET /good HTTP/1.1\r\nhost: a\r\n\r\n").await;
    good.hear("GET /good ").await;
    assert_eq!(rig.tasks.panics(), 1);
}

#[tokio::test]
async fn a_request_ends_with_its_client() {
    let rig = Rig::new();
    let held = Arc::new(());
    let holding = Arc::clone(&held);
    let (addr, _) = rig.serve(CONFIG, move |request| {
        let held = Arc::clone(&holding);
        async move {
            let body = request.into_body().read(10).await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
            Response::new(Body::from(body))
        }
    });
    let idle = Arc::strong_count(&held);
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok"] {
        let mut raw = Raw::connect(addr).await;
        raw.say(request).await;
        eventually("it is being answered", || Arc::strong_count(&held) > idle).await;
        drop(raw);
        eventually("it is given up", || rig.metric("test_connections ") == 0.0).await;
        assert_eq!(Arc::strong_count(&held), idle);
    }
}

#[tokio::test]
async fn who_has_connected_before_the_drain_is_answered() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let (addr, server) = rig.serve(ServerConfig { max_connections: 1, ..CONFIG }, move |request| {
        let wait = Arc::clone(&wait);
        async move {
            drop(wait.acquire().await.unwrap());
            echo(request).await
        }
    });
    let mut first = Raw::connect(addr).await;
    first.say("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the bound is met", || rig.metric("test_at_limit_total") >= 1.0).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut raw = Raw::connect(addr).await;
        raw.say("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        waiting.push(raw);
    }
    rig.shutdown.advance(Phase::Lame);
    gate.add_permits(100);
    assert!(first.hear_all().await.ends_with("GET /1 "));
    for mut raw in waiting {
        assert!(raw.hear_all().await.ends_with("GET /2 "), "it was in the kernel's queue");
    }
    tokio::time::timeout(PATIENCE, server.drained()).await.unwrap();
}

#[tokio::test]
async fn a_body_is_asked_for_when_it_is_read() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, echo);
    let mut expecting = Raw::connect(addr).await;
    expecting.say("POST /c HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(expecting.hear("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    expecting.say("ok").await;
    expecting.hear("POST /c ok").await;
}

#[tokio::test]
async fn what_a_peer_is_is_known_once_per_connection() {
    let rig = Rig::new();
    let made = Arc::new(AtomicUsize::new(0));
    let listener = Listener::tcp(crate::rig::loopback()).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server::new(CONFIG, &rig.tasks, &rig.metrics);
    let count = Arc::clone(&made);
    server
        .start(listener, move |peer| {
            count.fetch_add(1, Ordering::Relaxed);
            let who = format!("{}", peer.remote.unwrap());
            assert_eq!(peer.local, Some(addr));
            service(move |_| std::future::ready(Response::new(Body::from(who.clone()))))
        })
        .unwrap();
    let pool = rig.pool();
    let first = ask(&pool, &Target::http1(addr), "/").await;
    assert_eq!(ask(&pool, &Target::http1(addr), "/").await, first, "the same connection");
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_response_still_being_read_counts_as_busy() {
    let rig = Rig::new();
    let config = ServerConfig { idle_timeout: Duration::from_millis(40), ..CONFIG };
    let (addr, _) = rig.serve(config, |_request| async {
        let (sender, body) = Body::channel(1);
        // The body's source outlives several idle times.
        let mut sender = Some(sender);
        let later = futures::stream::once(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            drop(sender.take());
            Ok::<_, base_net::BodyError>(bytes::Bytes::from_static(b"late"))
        });
        drop(body);
        Response::new(Body::stream(later))
    });
    let mut raw = Raw::connect(addr).await;
    raw.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.hear("late\r\n0\r\n\r\n").await;
}
