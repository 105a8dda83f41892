//! Bounds: a flood is refused, what is slow is given up, what is old is forgotten.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, StreamBody};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{ADMIN_TOKEN, CONFIG_MAPS, Harness, config_map, eventually};

const EVENTS: &str = "/api/v1/namespaces/default/events";

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_refused_and_room_comes_back() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let list = || Request::builder().uri(CONFIG_MAPS).body(Full::<Bytes>::default()).expect("request");
    // Answers that nobody reads are requests under way.
    let mut unread = Vec::new();
    for _ in 0..cluster_apiserver::http::limits::MAX_READS {
        unread.push(raw.open(list()).await);
    }
    assert!(unread.iter().all(|answer| answer.status() == 200));
    let refused = raw.get(CONFIG_MAPS).await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].as_bytes()), (429, b"1".as_slice()));
    assert_eq!(raw.post(CONFIG_MAPS, &config_map("b")).await.status, 201, "writes have room of their own");
    let mine = harness.server.service_as(&cluster_apiserver::Identity::master("test"));
    let inside = mine.oneshot(list()).await.expect("answer");
    assert_eq!(inside.status(), 200, "clients of this process do not wait for strangers");
    drop(unread);
    assert_eq!(raw.get(CONFIG_MAPS).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let harness = Harness::start().await;
    let never =
        StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, std::convert::Infallible>>());
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONFIG_MAPS)
        .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
        .body(never)
        .expect("request");
    let answer = harness.server.service().oneshot(request).await.expect("answer");
    assert_eq!(answer.status(), 408);
}

#[tokio::test(start_paused = true)]
async fn old_events_are_forgotten() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let event = |name: &str, time: &str| {
        json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "R", "message": "m", "type": "Normal", "firstTimestamp": time, "lastTimestamp": time, "count": 1})
    };
    assert_eq!(raw.post(EVENTS, &event("old", "2024-01-01T00:00:00Z")).await.status, 201);
    assert_eq!(raw.post(EVENTS, &event("kept", "2024-01-01T02:00:00Z")).await.status, 201);
    tokio::time::sleep(Duration::from_secs(4000)).await;
    eventually("the old one is gone", || async { raw.get(&format!("{EVENTS}/old")).await.status == 404 }).await;
    assert_eq!(raw.get(&format!("{EVENTS}/kept")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_carried_out_even_if_nobody_waits() {
    let harness = Harness::start().await;
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONFIG_MAPS)
        .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
        .body(Full::from(config_map("a").to_string()))
        .expect("request");
    let mut under_way = Box::pin(harness.server.service().oneshot(request));
    // Once is enough to hand it over.
    assert!(futures::poll!(under_way.as_mut()).is_pending());
    drop(under_way);
    let raw = harness.raw();
    eventually("it is written", || async { raw.get(&format!("{CONFIG_MAPS}/a")).await.status == 200 }).await;
}

#[tokio::test(start_paused = true)]
async fn every_request_is_counted() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    raw.request(Method::from_bytes(b"ODD").expect("method"), "/x", "", &Value::Null).await;
    let metrics = String::from_utf8(raw.get("/metrics").await.bytes.to_vec()).expect("text");
    let wanted = "apiserver_request_total{verb=\"CREATE\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",code=\"201\"} 1";
    assert!(metrics.contains(wanted), "{metrics}");
    assert!(metrics.contains("verb=\"other\"") && !metrics.contains("ODD"), "made-up methods do not make labels");
    raw.get(&format!("{CONFIG_MAPS}/a/made-up")).await;
    let metrics = String::from_utf8(raw.get("/metrics").await.bytes.to_vec()).expect("text");
    assert!(!metrics.contains("made-up"), "nor do made-up subresources");
    let body = raw
        .open(Request::builder().uri(CONFIG_MAPS).body(Full::<Bytes>::default()).expect("request"))
        .await
        .into_body();
    body.collect().await.expect("body");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_no_larger_and_no_deeper_than_can_be_kept() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let crd = json!({
        "metadata": {"name": "bags.g.io"},
        "spec": {"group": "g.io", "scope": "Cluster", "names": {"plural": "bags", "kind": "Bag"}, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        }]},
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(raw.post(crds, &crd).await.status, 201);
    let bags = "/apis/g.io/v1/bags";
    eventually("it is served", || async { raw.get(bags).await.status == 200 }).await;
    let bag = |name: &str| json!({"apiVersion": "g.io/v1", "kind": "Bag", "metadata": {"name": name}});

    let mut large = bag("large");
    large["data"] = json!("x".repeat(1_500_000));
    assert_eq!(raw.post(bags, &large).await.status, 201);
    let path = format!("{bags}/large");
    let grown = raw.merge(&path, &json!({"more": "y".repeat(100_000)})).await;
    assert_eq!((grown.status.as_u16(), grown.json()["reason"].as_str()), (413, Some("RequestEntityTooLarge")));
    large["metadata"]["name"] = json!("larger");
    large["data"] = json!("x".repeat(1_600_000));
    assert_eq!(raw.post(bags, &large).await.status, 413);
    assert_eq!(raw.merge(&path, &json!({"metadata": {"finalizers": ["x.io/f"]}})).await.status, 200);
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 200, "whatever is there can be deleted");

    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let mut deep = bag("deep");
    deep["data"] = nested(99);
    assert_eq!(raw.post(bags, &deep).await.status, 201);
    let path = format!("{bags}/deep");
    assert_eq!(raw.get(&path).await.status, 200);
    let deeper = raw.merge(&path, &json!({"data": nested(100)})).await;
    assert_eq!(
        (deeper.status.as_u16(), deeper.message()),
        (400, "Bag \"deep\" is nested more than 100 deep".to_owned())
    );
    deep["metadata"]["name"] = json!("deeper");
    deep["data"] = nested(100);
    assert_eq!(raw.post(bags, &deep).await.status, 400);
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 200);
}

/// Sends a body as it is.
async fn send(harness: &Harness, content_type: &str, body: impl Into<Bytes>) -> crate::support::Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(CONFIG_MAPS)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .expect("request");
    harness.raw().send(request).await
}

/// What this thread, on which everything of a test happens, has had of the processor.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("nanoseconds"))
}

/// By the processor's time: what takes long is no better than what is not refused.
#[tokio::test]
async fn bodies_that_grow_or_go_deep_when_they_are_read_are_refused() {
    let harness = Harness::start().await;
    let laughs = (1..20).fold("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned(), |text, number| {
        let aliases = vec![format!("*a{}", number - 1); 8].join(", ");
        format!("{text}a{number}: &a{number} [{aliases}]\n")
    });
    let laughs = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: laughs}}\n{laughs}");
    let merges = (1..25).fold("x0: &x0 {a: b}\n".to_owned(), |text, number| {
        format!("{text}x{number}: &x{number} {{<<: [*x{0}, *x{0}], y: *x{0}, z: *x{0}}}\n", number - 1)
    });
    let deep = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let attempts = [
        ("application/yaml", laughs),
        ("application/yaml", merges),
        ("application/yaml", "a: &a [*a]".to_owned()),
        ("application/yaml", deep("[", "]", 100_000)),
        ("application/yaml", deep("{a: ", "}", 100_000)),
        ("application/yaml", "- ".repeat(100_000)),
        ("application/yaml", (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("application/yaml", format!("{}a", "!!map ".repeat(100_000))),
        ("application/yaml", "? ".repeat(100_000)),
        ("application/json", deep("[", "]", 1_000_000)),
        ("application/json", deep("{\"a\":", "}", 400_000)),
        ("application/json", format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{}}}", deep("[", "]", 200_000))),
        ("application/json", format!("[{}1]", "1,".repeat(1_400_000))),
    ];
    for (content_type, body) in attempts {
        let start: String = body.chars().take(40).collect();
        let begun = worked();
        let answer = send(&harness, content_type, body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 413 | 422), "{start}: {answer:?}");
        let took = worked().saturating_sub(begun);
        assert!(took < Duration::from_secs(10), "{start} took {took:?}");
        assert!(answer.bytes.len() < 64 << 10, "{start}: the answer is no echo");
    }
    assert_eq!(harness.raw().post(CONFIG_MAPS, &config_map("after")).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn malformed_protobuf_is_refused() {
    let harness = Harness::start().await;
    const TYPE: &str = "application/vnd.kubernetes.protobuf";
    // An envelope: {1: {1: "v1", 2: "ConfigMap"}, 2: raw}, with the length that each case claims.
    let type_meta = [b"\x0a\x0f\x0a\x02v1\x12\x09".as_slice(), b"ConfigMap"].concat();
    let whole = |raw: &[u8]| {
        let length = [(raw.len() as u8 & 0x7f) | 0x80, (raw.len() >> 7) as u8];
        [b"k8s\0", type_meta.as_slice(), b"\x12", &length, raw].concat()
    };
    // Groups in groups, and messages in messages, each opened and never closed.
    let nested = [0x0a, 0x7f].repeat(4_000);
    let cases: Vec<Vec<u8>> = vec![
        b"".into(),
        b"k8s".into(),
        b"k8s\0".into(),
        b"json".into(),
        b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".into(),
        b"k8s\0\x12\xff\xff\xff\xff\x0f".into(),
        whole(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        whole(b"\x0b\x0b\x0b\x0b"),
        whole(b"\x00\x00"),
        whole(b"\x0a\x04\x0a\x02\xff\xfe"),
        whole(&[0x0b; 8_000]),
        whole(&nested),
    ];
    for body in cases {
        let answer = send(&harness, TYPE, body.clone()).await;
        assert!(matches!(answer.status.as_u16(), 400 | 415 | 422), "{body:?}: {answer:?}");
    }
    assert_eq!(harness.raw().post(CONFIG_MAPS, &config_map("after")).await.status, 201);
}

/// By the processor's time: what takes long is no better than what is not refused.
#[tokio::test]
async fn queries_without_end_are_refused_or_answered() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let many = |part: &str| part.repeat(60_000 / part.len());
    for query in [
        format!("labelSelector={}", many("a%3Db,")),
        format!("labelSelector=a+in+({})", many("x,")),
        format!("labelSelector={}", many("(")),
        format!("labelSelector={}", many("%21")),
        format!("fieldSelector={}", many("metadata.name%3Da,")),
        format!("fieldSelector={}", many("%5C")),
        format!("continue={}", many("a")),
        format!("resourceVersion={}", many("9")),
        format!("limit={}", many("9")),
        many("%ff%fe&"),
        many("a=b&"),
    ] {
        let begun = tokio::time::Instant::now();
        let answer = raw.get(&format!("{CONFIG_MAPS}?{query}")).await;
        let start: String = query.chars().take(30).collect();
        assert!(matches!(answer.status.as_u16(), 200 | 400 | 410), "{start}: {}", answer.status);
        assert!(begun.elapsed() < Duration::from_secs(5), "{start}");
    }
}
