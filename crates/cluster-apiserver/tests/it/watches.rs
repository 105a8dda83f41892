//! Watches: from where they are told, in order, ended as they should be.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Harness, Raw, config_map};

/// A watch under way.
struct Watch(http_body_util::BodyStream<cluster_apiserver::http::body::Body>, Vec<u8>);

impl Watch {
    async fn open(raw: &Raw, path: &str) -> Self {
        let request = Request::builder().uri(path).body(Full::<Bytes>::default()).expect("request");
        let response = raw.open(request).await;
        assert_eq!(response.status(), 200);
        Self(http_body_util::BodyStream::new(response.into_body()), Vec::new())
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("event"));
            }
            match self.0.next().await? {
                Ok(frame) => self.1.extend_from_slice(&frame.into_data().expect("data")),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next events as `TYPE name`.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let event = self.next().await.expect("event");
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            seen.push(format!("{} {name}", event["type"].as_str().expect("type")));
        }
        seen
    }
}

#[tokio::test(start_paused = true)]
async fn the_present_then_what_happens() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let mut watch = Watch::open(&raw, &format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);
    raw.post(CONFIG_MAPS, &config_map("b")).await;
    raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"a": "c"}})).await;
    raw.delete(&format!("{CONFIG_MAPS}/a"), &json!(null)).await;
    assert_eq!(watch.take(3).await, ["ADDED b", "MODIFIED a", "DELETED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_s_watch_sees_objects_come_and_go() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut map = config_map("a");
    map["metadata"]["labels"] = json!({"l": "1"});
    let made = raw.post(CONFIG_MAPS, &map).await.json();
    let from = made["metadata"]["resourceVersion"].as_str().expect("revision");
    let mut watch =
        Watch::open(&raw, &format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}&labelSelector=l%3D1")).await;
    let path = format!("{CONFIG_MAPS}/a");
    let gone = raw.merge(&path, &json!({"metadata": {"labels": {"l": "2"}}})).await.json();
    raw.merge(&path, &json!({"data": {"x": "unseen"}})).await;
    raw.merge(&path, &json!({"metadata": {"labels": {"l": "1"}}})).await;
    let event = watch.next().await.expect("event");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["l"], "1", "the last state that matched");
    assert_eq!(
        event["object"]["metadata"]["resourceVersion"], gone["metadata"]["resourceVersion"],
        "at the new revision"
    );
    assert_eq!(watch.take(1).await, ["ADDED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_list_ends_its_beginning_with_a_bookmark() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watch::open(&raw, &format!("{CONFIG_MAPS}?{options}")).await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);
    let mark = watch.next().await.expect("bookmark");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // A quiet watch hears about every minute how far it is.
    let mark = watch.next().await.expect("bookmark");
    assert_eq!(mark["type"], "BOOKMARK");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_over() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut watch = Watch::open(&raw, &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=5")).await;
    let before = tokio::time::Instant::now();
    assert!(watch.next().await.is_none());
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_busy_watch_ends_as_well_and_gets_its_bookmarks() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=90&allowWatchBookmarks=true");
    let mut watch = Watch::open(&raw, &path).await;
    let mut types = Vec::new();
    // Whenever it looks, something has happened.
    for n in 0..1000 {
        raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"n": n.to_string()}})).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let Some(event) = watch.next().await else { break };
        types.push(event["type"].as_str().expect("type").to_owned());
    }
    assert!((85..=95).contains(&types.len()), "{}", types.len());
    assert!(types.iter().any(|kind| kind == "BOOKMARK"), "{types:?}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_late_or_falls_behind_is_told() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let made = raw.post(CONFIG_MAPS, &config_map("a")).await.json();
    let from = made["metadata"]["resourceVersion"].as_str().expect("revision");
    let slow = format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}");
    let mut slow = Watch::open(&raw, &slow).await;
    for n in 0..=cluster_apiserver::store::HISTORY_MAX_EVENTS {
        raw.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"n": n.to_string()}})).await;
    }
    for path in ["?watch=1&resourceVersion=1", &format!("?watch=1&resourceVersion={from}")] {
        let mut late = Watch::open(&raw, &format!("{CONFIG_MAPS}{path}")).await;
        let event = late.next().await.expect("event");
        assert_eq!((event["type"].as_str(), event["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
        assert_eq!(event["object"]["reason"], "Expired");
        assert!(late.next().await.is_none());
    }
    assert_eq!(slow.next().await.expect("event")["object"]["code"], 410);
    assert!(slow.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn kube_s_watchers_follow_in_both_styles() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    raw.post(CONFIG_MAPS, &config_map("a")).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let maps: Api<ConfigMap> = Api::default_namespaced(harness.client());
        let mut objects = Box::pin(watcher(maps, config).applied_objects());
        let first = objects.try_next().await.expect("watch").expect("object");
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
        raw.merge(
            &format!("{CONFIG_MAPS}/a"),
            &json!({"data": {"n": format!("{:?}", first.metadata.resource_version)}}),
        )
        .await;
        let second = objects.try_next().await.expect("watch").expect("object");
        assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    }
}

#[tokio::test(start_paused = true)]
async fn watches_end_with_the_server() {
    let harness = Harness::start().await;
    let mut watch = Watch::open(&harness.raw(), &format!("{CONFIG_MAPS}?watch=1")).await;
    harness.shutdown.advance(base_rt::Phase::Lame);
    assert!(tokio::time::timeout(Duration::from_secs(1), watch.next()).await.expect("it ends").is_none());
}

#[tokio::test(start_paused = true)]
async fn watches_of_this_process_last_until_it_stops() {
    let harness = Harness::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(harness.client(), "default");
    let watch = maps.watch(&WatchParams::default(), "0").await.expect("watch");
    let mut watch = std::pin::pin!(watch);
    harness.shutdown.advance(base_rt::Phase::Lame);
    harness.shutdown.advance(base_rt::Phase::Drained);
    harness.raw().post(CONFIG_MAPS, &config_map("a")).await;
    // Whoever finishes what is in hand sees what it wrote.
    let mut told = Vec::new();
    while told.last().is_none_or(|name| name != "a") {
        if let WatchEvent::Added(map) = watch.try_next().await.expect("watch").expect("it goes on") {
            told.extend(map.metadata.name);
        }
    }
    harness.shutdown.advance(base_rt::Phase::Stopped);
    let end = tokio::time::timeout(Duration::from_secs(1), watch.try_next()).await.expect("it ends");
    assert!(end.expect("watch").is_none());
}

#[tokio::test(start_paused = true)]
async fn tables_name_their_columns_once() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    for name in ["a", "b"] {
        raw.post(CONFIG_MAPS, &config_map(name)).await;
    }
    let request = Request::builder()
        .uri(format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Full::<Bytes>::default())
        .expect("request");
    let body = raw.open(request).await.into_body().collect().await.expect("body").to_bytes();
    let events: Vec<Value> = body
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("event"))
        .collect();
    assert_eq!(events.len(), 2);
    assert!(events[0]["object"]["columnDefinitions"].is_array());
    assert!(events[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "b");
}
