//! The pool: reuse, retries, bounds, HTTP/2, broken bodies.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base_net::connect::{Connector, Target};
use base_net::pool::{PoolConfig, SendCause};
use base_net::serve::ServerConfig;
use base_net::{Body, BodyError, Response};
use futures::future::join_all;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;

use crate::rig::{Raw, Rig, ask, echo, eventually, get, loopback, post, raw_server, text};

const CONFIG: ServerConfig = ServerConfig::new("upstream");
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_kept_once_its_response_has_been_read() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, echo);
    let (pool, target) = (rig.pool(), Target::http1(addr));
    for n in 0..20 {
        let response = pool.send(&target, post("/", n.to_string())).await.unwrap();
        assert_eq!((pool.in_flight(&target), pool.idle(&target)), (1, 0));
        assert_eq!(response.into_body().read(100).await.unwrap(), format!("POST / {n}"));
        assert_eq!((pool.in_flight(&target), pool.idle(&target)), (0, 1));
    }
    assert_eq!(rig.metric("upstream_dials_total"), 1.0);
    drop(pool.send(&target, get("/unread")).await.unwrap());
    assert_eq!(
        (pool.in_flight(&target), pool.idle(&target)),
        (0, 0),
        "a response that is not read costs its connection"
    );
    assert_eq!(ask(&pool, &target, "/again").await, "GET /again ");
    assert_eq!(rig.metric("upstream_dials_total"), 2.0);
}

#[tokio::test]
async fn responses_without_a_body_give_their_connection_back_at_once() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, |_| async { http::Response::builder().status(204).body(Body::empty()).unwrap() });
    let (pool, target) = (rig.pool(), Target::http1(addr));
    let response = pool.send(&target, get("/")).await.unwrap();
    assert_eq!((pool.in_flight(&target), pool.idle(&target)), (0, 1));
    drop(response);
}

/// Answers the first request on each connection, and closes it when a second one comes.
async fn closes_on_the_second(_number: usize, mut raw: Raw) {
    raw.hear("\r\n\r\n").await;
    raw.say(ANSWER).await;
    raw.hear("\r\n\r\n").await;
}

#[tokio::test]
async fn a_safe_request_is_repeated_when_its_idle_connection_is_closed_under_it() {
    let rig = Rig::new();
    let (addr, accepted) = raw_server(&rig, closes_on_the_second).await;
    let (pool, target) = (rig.pool(), Target::http1(addr));
    assert_eq!(ask(&pool, &target, "/1").await, "ok");
    assert_eq!(ask(&pool, &target, "/2").await, "ok");
    assert_eq!((accepted.load(Ordering::SeqCst), rig.metric("upstream_repeated_total")), (2, 1.0));
    let error = pool.send(&target, post("/3", "x")).await.unwrap_err();
    assert!(matches!(error.cause, SendCause::Exchange(_)), "{error:?}");
    assert!(error.into_request().is_none(), "it may have been carried out");
    assert_eq!(accepted.load(Ordering::SeqCst), 2, "it is not repeated");
}

#[tokio::test]
async fn a_request_is_repeated_once_only() {
    let rig = Rig::new();
    let (addr, accepted) = raw_server(&rig, |number, mut raw| async move {
        raw.hear("\r\n\r\n").await;
        if number == 0 {
            raw.say(ANSWER).await;
            raw.hear("\r\n\r\n").await;
        }
    })
    .await;
    let (pool, target) = (rig.pool(), Target::http1(addr));
    assert_eq!(ask(&pool, &target, "/1").await, "ok");
    assert!(pool.send(&target, get("/2")).await.is_err());
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let rig = Rig::new();
    let (addr, accepted) = raw_server(&rig, |_number, mut raw| async move {
        raw.hear("\r\n\r\n").await;
        raw.say(ANSWER).await;
    })
    .await;
    let (pool, target) = (rig.pool(), Target::http1(addr));
    for n in 1..4 {
        assert_eq!(text(pool.send(&target, get("/")).await).await, "ok");
        // The pool sees the end of the connection when it looks for one; until the runtime does, it may be used in vain.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(accepted.load(Ordering::SeqCst), n);
    }
    assert_eq!(rig.metric("upstream_repeated_total"), 0.0);
}

#[tokio::test]
async fn a_request_that_was_not_sent_comes_back() {
    let rig = Rig::new();
    let nobody = Target::http1(std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap());
    let pool = rig.pool();
    let error = pool.send(&nobody, post("/elsewhere", "body")).await.unwrap_err();
    assert!(error.is_refused());
    assert_eq!(error.to_string(), format!("no response from {nobody}"));
    let (addr, _) = rig.serve(CONFIG, echo);
    let again = error.into_request().unwrap();
    assert_eq!(text(pool.send(&Target::http1(addr), again).await).await, "POST /elsewhere body");
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, |_| std::future::pending());
    let pool = rig.pool_of(Connector::new(), PoolConfig { max_in_flight: 1, ..PoolConfig::default() });
    let target = Target::http1(addr);
    let first = pool.send(&target, get("/"));
    let second = async {
        eventually("the first is in flight", || pool.in_flight(&target) == 1).await;
        pool.send(&target, get("/")).await.unwrap_err()
    };
    tokio::select! {
        biased;
        error = second => assert!(matches!(error.cause, SendCause::Busy(1))),
        _ = first => panic!("nobody answers"),
    }
    assert_eq!(pool.in_flight(&target), 0, "who gives up is not counted");
}

#[tokio::test]
async fn idle_connections_end_with_their_time_and_with_the_process() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, echo);
    let pool =
        rig.pool_of(Connector::new(), PoolConfig { idle_timeout: Duration::from_secs(1), ..PoolConfig::default() });
    let target = Target::http1(addr);
    ask(&pool, &target, "/").await;
    assert_eq!(pool.idle(&target), 1);
    eventually("it is dropped", || pool.idle(&target) == 0).await;
    ask(&pool, &target, "/").await;
    rig.shutdown.advance(base_rt::Phase::Stopped);
    tokio::time::timeout(crate::rig::PATIENCE, rig.tasks.finished()).await.unwrap();
    assert_eq!(pool.idle(&target), 0);
}

#[tokio::test]
async fn http2_requests_share_one_connection() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, echo);
    let (pool, target) = (rig.pool(), Target::http2(addr));
    let all = join_all((0..50).map(|n| {
        let (pool, target) = (pool.clone(), target.clone());
        async move { ask(&pool, &target, &format!("/{n}")).await }
    }))
    .await;
    assert!(all.iter().enumerate().all(|(n, answer)| *answer == format!("GET /{n} ")));
    assert_eq!((rig.metric("upstream_dials_total"), pool.in_flight(&target)), (1.0, 0));
}

#[tokio::test]
async fn trailers_pass_through_both_ways() {
    let rig = Rig::new();
    let (addr, _) = rig.serve(CONFIG, |request| async move {
        let sent = request.into_body().collect().await.unwrap();
        let trailers = sent.trailers().cloned().unwrap_or_default();
        let (sender, body) = Body::channel(2);
        sender.send(sent.to_bytes()).await.unwrap();
        sender.finish_with(trailers).await.unwrap();
        Response::new(body)
    });
    let (pool, target) = (rig.pool(), Target::http2(addr));
    let (sender, body) = Body::channel(2);
    sender.send("hello").await.unwrap();
    sender
        .finish_with(HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(7))]))
        .await
        .unwrap();
    let response = pool.send(&target, post("/", body)).await.unwrap();
    let answer = response.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "7");
    assert_eq!(answer.to_bytes(), "hello");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let rig = Rig::new();
    let (addr, _) = raw_server(&rig, |_, mut raw| async move {
        raw.hear("\r\n\r\n").await;
        raw.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let (pool, target) = (rig.pool(), Target::http1(addr));
    let response = pool.send(&target, get("/")).await.unwrap();
    assert!(matches!(response.into_body().read(1000).await, Err(BodyError::Connection(_))));
    assert_eq!(pool.in_flight(&target), 0);
    // And a proxy's client sees it as one.
    let (front, _) = rig.serve(ServerConfig::new("front"), move |request| {
        let (pool, target) = (pool.clone(), target.clone());
        async move { pool.send(&target, request).await.unwrap() }
    });
    let front_pool = rig.pool();
    let response = front_pool.send(&Target::http1(front), get("/")).await.unwrap();
    assert!(response.into_body().read(1000).await.is_err());
}

#[tokio::test]
async fn a_request_body_that_breaks_off_is_not_taken_for_a_whole_one() {
    let rig = Rig::new();
    let (whole, mut seen) = tokio::sync::mpsc::channel(1);
    let (addr, _) = rig.serve(CONFIG, move |request| {
        let whole = whole.clone();
        async move {
            whole.send(request.into_body().read(1000).await.is_ok()).await.unwrap();
            Response::new(Body::empty())
        }
    });
    let (sender, body) = Body::channel(1);
    let target = Target::http1(addr);
    let pool = rig.pool();
    let breaking = async {
        sender.send("half").await.unwrap();
        drop(sender);
    };
    let (sent, ()) = tokio::join!(pool.send(&target, post("/", body)), breaking);
    assert!(sent.is_err());
    // The server sees an error, or is told of nothing any more.
    eventually("the connection is over", || rig.metric("upstream_connections ") == 0.0).await;
    assert_ne!(seen.try_recv(), Ok(true));
}
