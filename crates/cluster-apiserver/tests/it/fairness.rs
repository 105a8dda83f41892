//! One user's flood is that user's trouble.

use std::convert::Infallible;

use bytes::Bytes;
use cluster_apiserver::http::limits::{MAX_LONG_RUNNING, MAX_READS, MAX_WAITING, MAX_WRITES, USER_SHARE};
use futures::FutureExt as _;
use http::{Method, Request, Response};
use http_body_util::{Full, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{ADMIN_TOKEN, BOB_TOKEN, CAROL_TOKEN, CONFIG_MAPS, Harness, config_map, eventually};

/// A server where everybody who is somebody may do everything with ConfigMaps.
async fn server() -> Harness {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let rules = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    assert_eq!(raw.post(&format!("{rules}/clusterroles"), &role).await.status, 201);
    let binding = json!({
        "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
    });
    assert_eq!(raw.post(&format!("{rules}/clusterrolebindings"), &binding).await.status, 201);
    let carol = harness.with_token(CAROL_TOKEN);
    eventually("the rules", || async { carol.get(CONFIG_MAPS).await.status == 200 }).await;
    harness
}

fn list() -> Request<Full<Bytes>> {
    Request::builder().uri(CONFIG_MAPS).body(Full::default()).expect("request")
}

fn watch() -> Request<Full<Bytes>> {
    Request::builder().uri(format!("{CONFIG_MAPS}?watch=1")).body(Full::default()).expect("request")
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_never_read_hold_up_nobody_else() {
    let harness = server().await;
    let (bob, carol) = (harness.with_token(BOB_TOKEN), harness.with_token(CAROL_TOKEN));
    carol.post(CONFIG_MAPS, &config_map("a")).await;
    let mut unread = Vec::new();
    for _ in 0..MAX_READS / USER_SHARE {
        unread.push(bob.open(list()).await);
    }
    assert!(unread.iter().all(|answer| answer.status() == 200));
    let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(bob.open(list()))).collect();
    assert!(waiting.iter_mut().all(|answer| answer.now_or_never().is_none()));
    let refused = bob.get(CONFIG_MAPS).now_or_never().expect("nobody waits behind a full queue");
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].as_bytes()), (429, b"1".as_slice()));
    assert_eq!(refused.json()["reason"], "TooManyRequests");
    // What is of another kind, or of somebody else, is answered at once.
    assert_eq!(bob.post(CONFIG_MAPS, &config_map("b")).await.status, 201);
    assert_eq!(bob.open(watch()).await.status(), 200);
    assert_eq!(carol.get(CONFIG_MAPS).now_or_never().expect("at once").status, 200);
    assert_eq!(harness.raw().get(CONFIG_MAPS).now_or_never().expect("at once").status, 200);
    let mut admitted = Vec::new();
    // Each answer that is given up lets the next one in.
    for answer in unread.drain(..5) {
        drop(answer);
        admitted.push(waiting.remove(0).now_or_never().expect("its turn"));
    }
    assert!(admitted.iter().all(|answer| answer.status() == 200));
    let last = waiting.pop().expect("one");
    assert_eq!(last.await.status(), 429, "nobody waits for ever");
}

#[tokio::test(start_paused = true)]
async fn watches_have_a_share_too() {
    let harness = server().await;
    let (bob, carol) = (harness.with_token(BOB_TOKEN), harness.with_token(CAROL_TOKEN));
    let mut watches = Vec::new();
    for _ in 0..MAX_LONG_RUNNING / USER_SHARE {
        watches.push(bob.open(watch()).await);
    }
    assert!(watches.iter().all(|watch| watch.status() == 200));
    assert_eq!(bob.open(watch()).now_or_never().expect("at once").status(), 429);
    assert_eq!(carol.open(watch()).await.status(), 200);
    watches.pop();
    assert_eq!(bob.open(watch()).await.status(), 200);
}

/// A write that announces a large body and sends nothing of it.
async fn slow(harness: &Harness, token: &str) -> Response<cluster_apiserver::http::body::Body> {
    let never = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>());
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONFIG_MAPS)
        .header("authorization", format!("Bearer {token}"))
        .header("content-length", "3000000")
        .body(never)
        .expect("request");
    harness.server.service().oneshot(request).await.expect("answer")
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_come_hold_up_nobody_else() {
    let harness = server().await;
    let mut slow_ones: Vec<_> = (0..MAX_WRITES / USER_SHARE).map(|_| Box::pin(slow(&harness, BOB_TOKEN))).collect();
    assert!(slow_ones.iter_mut().all(|answer| answer.now_or_never().is_none()));
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(900_000)}});
    let (carol, admin) = (harness.with_token(CAROL_TOKEN), harness.with_token(ADMIN_TOKEN));
    let begun = tokio::time::Instant::now();
    assert_eq!(carol.post(CONFIG_MAPS, &large).await.status, 201);
    assert_eq!(admin.post(CONFIG_MAPS, &config_map("b")).await.status, 201);
    assert!(begun.elapsed().as_secs() < 5, "nobody waited for the slow ones");
    for answer in slow_ones {
        assert!(matches!(answer.await.status().as_u16(), 408 | 429));
    }
    assert_eq!(harness.with_token(BOB_TOKEN).post(CONFIG_MAPS, &config_map("c")).await.status, 201);
    assert_eq!(harness.raw().delete(&format!("{CONFIG_MAPS}/large"), &Value::Null).await.status, 200);
}
