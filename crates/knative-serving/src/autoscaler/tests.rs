//! The task against fixed objects, under paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base_controller::Key;
use base_rt::Clock;
use base_rt::watch;
use jiff::Timestamp;
use knative_apis::config::Autoscaler;
use knative_apis::stat::{Stat, StatMessage};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::facts::{DecisionFact, DecisionFacts};
use super::service::{Changed, Service};
use crate::caches::Caches;
use crate::waker::Waker;

/// A Revision with a target of 10 requests in flight, and so many ready Pods.
fn objects(annotations: &[(&str, &str)], ready: usize) -> Vec<Value> {
    let mut all: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| (format!("autoscaling.knative.dev/{key}"), json!(value))).collect();
    all.insert("autoscaling.knative.dev/target".to_owned(), json!("10"));
    all.insert("autoscaling.knative.dev/target-utilization-percentage".to_owned(), json!("100"));
    let autoscaler = json!({
        "apiVersion": "autoscaling.internal.knative.dev/v1alpha1", "kind": "PodAutoscaler",
        "metadata": {"name": "r", "namespace": "n", "annotations": all},
        "spec": {"scaleTargetRef": {"name": "r-deployment"}, "protocolType": "http1"},
    });
    let pod = |n| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("p{n}"), "namespace": "n", "labels": {"serving.knative.dev/revision": "r"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    std::iter::once(autoscaler).chain((0..ready).map(pod)).collect()
}

struct Rig {
    stats: mpsc::Sender<StatMessage>,
    decisions: DecisionFacts,
    config: watch::Sender<Arc<Autoscaler>>,
    clock: Clock,
}

impl Rig {
    /// Runs `test` beside the autoscaler.
    async fn run<F: Future<Output = ()>>(objects: &[Value], test: impl FnOnce(Self) -> F) {
        let (stats, receiver) = mpsc::channel(16);
        let (config, configured) = watch::channel(Arc::new(Autoscaler::default()));
        let decisions = DecisionFacts::default();
        let clock = Clock::starting_at("2026-11-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let changed = Changed::default();
        changed.add(Self::key());
        let service = Service {
            caches: Caches::fixed(objects),
            config: configured,
            clock,
            decisions: decisions.clone(),
            waker: Waker::default(),
            deciders: BTreeMap::new(),
            awake: BTreeSet::new(),
        };
        let rig = Self { stats, decisions, config, clock };
        tokio::select! {
            biased;
            () = test(rig) => {}
            () = service.run(receiver, changed) => panic!("the autoscaler ended"),
        }
    }

    fn key() -> Key {
        Key::new("n", "r")
    }

    async fn report(&self, concurrency: f64) {
        let stat = Stat { average_concurrent_requests: concurrency, request_count: concurrency, ..Stat::default() };
        let message = StatMessage { key: knative_apis::meta::Key::new("n", "r"), stat };
        self.stats.send(message).await.unwrap();
    }

    /// Reports every second, for so many seconds.
    async fn report_for(&self, seconds: u64, concurrency: f64) {
        for _ in 0..seconds {
            self.report(concurrency).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn fact(&self) -> Option<DecisionFact> {
        self.decisions.get(&Self::key())
    }

    fn desired(&self) -> Option<i32> {
        self.fact().map(|fact| fact.decision.desired)
    }

    /// Lets everybody do what can be done now.
    async fn settle(&self) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_request_at_zero_is_decided_on_at_once() {
    Rig::run(&objects(&[], 0), |rig| async move {
        rig.settle().await;
        let before = rig.clock.now();
        rig.report(1.0).await;
        rig.settle().await;
        assert_eq!((rig.desired(), rig.clock.now()), (Some(1), before));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_decided_on_at_once() {
    Rig::run(&objects(&[], 0), |rig| async move {
        rig.report(1.0).await;
        rig.report(99.0).await;
        rig.settle().await;
        assert_eq!(rig.desired(), Some(10));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_at_zero_sleeps() {
    Rig::run(&objects(&[], 0), |rig| async move {
        rig.report_for(5, 3.0).await;
        rig.pass(300).await;
        assert_eq!(rig.desired(), Some(0), "silence after a whole window is no traffic");
        let asleep_since = rig.fact().unwrap().at;
        rig.pass(3600).await;
        assert_eq!(rig.fact().unwrap().at, asleep_since, "nobody looks at it");
        rig.report(1.0).await;
        rig.settle().await;
        assert_eq!(rig.desired(), Some(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ready_pods_without_a_report_measure_zero() {
    Rig::run(&objects(&[], 1), |rig| async move {
        rig.report_for(70, 10.0).await;
        assert_eq!(rig.desired(), Some(1));
        rig.pass(30).await;
        let stable = rig.fact().unwrap().stable;
        assert!(stable > 3.0 && stable < 7.0, "half of the window is silent: {stable}");
        rig.pass(40).await;
        assert_eq!(rig.desired(), Some(0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_start_nothing_scales_down_for_a_window() {
    Rig::run(&objects(&[], 4), |rig| async move {
        rig.pass(50).await;
        let fact = rig.fact().unwrap();
        assert_eq!(fact.decision.desired, 4);
        rig.pass(30).await;
        assert_eq!(rig.desired(), Some(2), "then it halves");
    })
    .await;
    Rig::run(&objects(&[], 1), |rig| async move {
        rig.pass(50).await;
        assert!(rig.fact().unwrap().is_held, "one Pod is kept too, and it is said why");
        assert_eq!(rig.desired(), Some(1));
        rig.pass(30).await;
        assert_eq!(rig.desired(), Some(0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_changes_counts_from_the_next_tick() {
    Rig::run(&objects(&[("metric", "rps"), ("window", "6s")], 2), |rig| async move {
        rig.report_for(80, 40.0).await;
        assert_eq!(rig.desired(), Some(4));
        let slower = Autoscaler { max_scale_up_rate: 1.5, ..Autoscaler::default() };
        rig.config.send_replace(Arc::new(slower));
        rig.report_for(10, 40.0).await;
        assert_eq!(rig.desired(), Some(3), "two Pods may become three");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn statistics_about_nobody_harm_nobody() {
    Rig::run(&objects(&[], 0), |rig| async move {
        let message = StatMessage { key: knative_apis::meta::Key::new("n", "unknown"), stat: Stat::default() };
        rig.stats.send(message).await.unwrap();
        rig.report(1.0).await;
        rig.settle().await;
        assert_eq!(rig.desired(), Some(1));
    })
    .await;
}
