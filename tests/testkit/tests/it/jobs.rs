//! Jobs, CronJobs and evictions over the real API server: the recorded steps of a Job, its other ends, and that counts are right however
//! Pods come and go. The recording lies beside the project; without it that test is left out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{DeleteParams, EvictParams, PropagationPolicy};
use serde_json::{Value, json};
use testkit::objects::{deployment, object};
use testkit::{Cluster, FakeNodeConfig, Life, Timeline, eventually};

const RECORDING: &str = "../../../shared/golden/controllers-1.36.jsonl";
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

fn job(name: &str, spec: Value) -> Job {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let spec = base_controller::overlay::overlay(&json!({ "template": template }), &spec);
    object(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
}

/// A node on which Pods end as the label `life` of their Job's template says: well, badly, or not at all.
fn node() -> FakeNodeConfig {
    let life = |pod: &Pod| match pod.labels().get("life").map(String::as_str) {
        Some("runs") => Life::Ready,
        Some("fails") => Life::Fails,
        Some("index-1-fails") if pod.annotations().values().any(|index| index == "1") => Life::Fails,
        _ => (FakeNodeConfig::default().life)(pod),
    };
    FakeNodeConfig { life: Arc::new(life), ..FakeNodeConfig::default() }
}

fn labelled(life: &str) -> Value {
    json!({"template": {"metadata": {"labels": {"life": life}}}})
}

fn with(spec: Value, more: Value) -> Value {
    base_controller::overlay::overlay(&spec, &more)
}

/// The reasons of the true conditions of a Job, by type.
fn conditions(job: &Job) -> Vec<(String, String)> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_true = conditions.filter(|condition| condition.status == "True");
    is_true.map(|condition| (condition.type_.clone(), condition.reason.clone().unwrap_or_default())).collect()
}

async fn ended(cluster: &Cluster, name: &str) -> Job {
    let has_ended = |job: &Job| conditions(job).iter().any(|(type_, _)| type_ == "Complete" || type_ == "Failed");
    eventually(&format!("the end of {name}"), || async {
        cluster.get::<Job>("default", name).await.is_some_and(|job| has_ended(&job))
    })
    .await;
    cluster.get("default", name).await.unwrap()
}

async fn pods_of(cluster: &Cluster, job: &str) -> Vec<Pod> {
    let mut pods = cluster.list::<Pod>("default").await;
    pods.retain(|pod| pod.owner_references().iter().any(|owner| owner.name == job));
    pods
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

fn watching(cluster: &Cluster) -> Context {
    Context::new(ContextConfig {
        client: cluster.client(),
        clock: cluster.clock,
        tasks: cluster.tasks.clone(),
        metrics: Scope::root(),
        seed: 1,
        component: "test",
    })
}

/// A Job's status without what differs from run to run, and without repetitions.
fn seen(versions: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::new();
    for mut job in versions {
        let mut status = job["status"].take();
        for time in ["startTime", "completionTime"] {
            if !status[time].is_null() {
                status[time] = "set".into();
            }
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastProbeTime"] = "set".into();
            condition["lastTransitionTime"] = "set".into();
        }
        if let Some(names) = status["uncountedTerminatedPods"]["succeeded"].as_array_mut() {
            names.fill("pod".into());
        }
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_the_recorded_steps() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("left out: there is no recording at {RECORDING}");
        return;
    };
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut recorded_jobs, mut recorded_events) = (Vec::new(), Vec::new());
    for line in lines.filter(|line| line["type"] != "DELETED") {
        let is_event = line["kind"] == "Event" && line["object"]["involvedObject"]["kind"] == "Job";
        if line["kind"] == "Job" {
            recorded_jobs.push(line["object"].clone());
        } else if is_event {
            recorded_events.push(line["object"]["reason"].clone());
        }
    }
    let cluster = Cluster::start_with(1, node()).await;
    let context = watching(&cluster);
    let (jobs, events) = (Timeline::<Job>::start(&context).await, Timeline::<Event>::start(&context).await);
    cluster.create(&job("j1", json!({}))).await;
    ended(&cluster, "j1").await;
    let mut told = Vec::new();
    eventually("the Events come", || {
        for event in events.take() {
            if event.involved_object.kind.as_deref() == Some("Job") {
                told.push(json!(event.reason));
            }
        }
        std::future::ready(told.len() >= recorded_events.len())
    })
    .await;
    let ours = jobs.take();
    assert_eq!(seen(ours.iter().map(|job| json!(**job))), seen(recorded_jobs.into_iter()));
    assert_eq!(told, recorded_events);
    let pods = pods_of(&cluster, "j1").await;
    assert!(pods.len() == 1 && !is_tracked(&pods[0]), "the Pod stays, and is let go");
    cluster.delete::<Job>("default", "j1", &DeleteParams::background()).await;
    eventually("its Pod follows the Job", || async { pods_of(&cluster, "j1").await.is_empty() }).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_end_as_they_should() {
    let cluster = Cluster::start_with(2, node()).await;
    let (parallel, indexed) =
        (json!({"parallelism": 3, "completions": 10}), json!({"completionMode": "Indexed", "completions": 3}));
    let rows = [
        ("well", parallel.clone(), ("Complete", "CompletionsReached"), 10, 0),
        ("badly", with(labelled("fails"), json!({"backoffLimit": 1})), ("Failed", "BackoffLimitExceeded"), 0, 2),
        ("late", with(labelled("runs"), json!({"activeDeadlineSeconds": 5})), ("Failed", "DeadlineExceeded"), 0, 1),
        ("indexed", with(indexed.clone(), json!({"parallelism": 3})), ("Complete", "CompletionsReached"), 3, 0),
        (
            "per-index",
            with(with(indexed, labelled("index-1-fails")), json!({"parallelism": 3, "backoffLimitPerIndex": 1})),
            ("Failed", "FailedIndexes"),
            2,
            2,
        ),
        (
            "by-policy",
            with(
                labelled("fails"),
                json!({"podFailurePolicy": {"rules": [
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}},
                ]}}),
            ),
            ("Failed", "PodFailurePolicy"),
            0,
            1,
        ),
    ];
    for (name, spec, ..) in &rows {
        cluster.create(&job(name, spec.clone())).await;
    }
    for (name, _, (type_, reason), succeeded, failed) in rows {
        let job = ended(&cluster, name).await;
        let status = job.status.clone().unwrap();
        assert_eq!(conditions(&job).last(), Some(&(type_.to_owned(), reason.to_owned())), "{name}");
        let counts = (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default());
        assert_eq!(counts, (succeeded, failed), "{name}");
        assert_eq!((status.active, status.terminating), (None, Some(0)), "{name}");
        assert!(!pods_of(&cluster, name).await.iter().any(is_tracked), "{name} lets its Pods go");
        if name == "per-index" {
            assert_eq!(
                (status.completed_indexes.as_deref(), status.failed_indexes.as_deref()),
                (Some("0,2"), Some("1"))
            );
        }
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_suspended_and_resumed_and_goes_in_its_time() {
    let cluster = Cluster::start_with(3, node()).await;
    let spec = with(labelled("runs"), json!({"parallelism": 2, "completions": 2, "ttlSecondsAfterFinished": 5}));
    cluster.create(&job("j", spec)).await;
    let active = |count: usize| {
        let cluster = &cluster;
        async move {
            eventually(&format!("{count} Pods run"), || async {
                let job = cluster.get::<Job>("default", "j").await.unwrap();
                let ready = job.status.and_then(|status| status.ready).unwrap_or_default();
                pods_of(cluster, "j").await.len() == count && usize::try_from(ready) == Ok(count)
            })
            .await;
        }
    };
    active(2).await;
    cluster.merge::<Job>("default", "j", &json!({"spec": {"suspend": true}})).await;
    active(0).await;
    let suspended = cluster.get::<Job>("default", "j").await.unwrap();
    assert_eq!(conditions(&suspended), [("Suspended".to_owned(), "JobSuspended".to_owned())]);
    assert!(suspended.status.unwrap().start_time.is_none());
    cluster.merge::<Job>("default", "j", &json!({"spec": {"suspend": false}})).await;
    active(2).await;
    for pod in pods_of(&cluster, "j").await {
        let phase = json!({"status": {"phase": "Succeeded", "conditions": []}});
        cluster.merge_status::<Pod>("default", &pod.name_any(), &phase).await;
    }
    let ended = ended(&cluster, "j").await;
    assert_eq!(ended.status.unwrap().succeeded, Some(2));
    eventually("the Job goes", || async { cluster.get::<Job>("default", "j").await.is_none() }).await;
    assert!(pods_of(&cluster, "j").await.is_empty(), "its Pods went before it");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_of_pods_that_are_deleted() {
    let cluster = Cluster::start_with(4, node()).await;
    let spec = with(labelled("runs"), json!({"parallelism": 2, "completions": 2, "backoffLimit": 1}));
    cluster.create(&job("j", spec)).await;
    eventually("two Pods", || async { pods_of(&cluster, "j").await.len() == 2 }).await;
    let before = tokio::time::Instant::now();
    let first = pods_of(&cluster, "j").await.remove(0);
    cluster.delete::<Pod>("default", &first.name_any(), &DeleteParams::default()).await;
    eventually("it counts as failed, and is replaced", || async {
        let failed = cluster.get::<Job>("default", "j").await.unwrap().status.and_then(|status| status.failed);
        failed == Some(1) && pods_of(&cluster, "j").await.iter().filter(|pod| pod.uid() != first.uid()).count() == 2
    })
    .await;
    assert!(before.elapsed() >= Duration::from_secs(9), "after a while");
    cluster.delete::<Job>("default", "j", &DeleteParams::foreground()).await;
    eventually("all of it goes", || async {
        cluster.get::<Job>("default", "j").await.is_none() && pods_of(&cluster, "j").await.is_empty()
    })
    .await;
    let orphaned = with(labelled("runs"), json!({"parallelism": 1}));
    cluster.create(&job("o", orphaned)).await;
    eventually("a Pod", || async { pods_of(&cluster, "o").await.len() == 1 }).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    cluster.delete::<Job>("default", "o", &orphan).await;
    eventually("the Pod stays, of nobody", || async {
        let pods = cluster.list::<Pod>("default").await;
        pods.len() == 1 && pods[0].owner_references().is_empty() && !is_tracked(&pods[0])
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_makes_jobs_by_the_clock() {
    let cluster = Cluster::start_with(5, node()).await;
    let cron: CronJob = object(json!({
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {
            "schedule": "* * * * *", "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": job("unused", json!({})).spec},
        },
    }));
    cluster.create(&cron).await;
    let names = || async {
        let mut names: Vec<_> = cluster.list::<Job>("default").await.iter().map(ResourceExt::name_any).collect();
        names.sort_unstable();
        names
    };
    // 2026-01-01T00:03:00Z, in minutes.
    let third = 1_767_225_600 / 60 + 3;
    let expected = [format!("tick-{}", third - 1), format!("tick-{third}")];
    for minute in third - 2..third {
        tokio::time::advance(Duration::from_secs(59)).await;
        ended(&cluster, &format!("tick-{minute}")).await;
    }
    tokio::time::advance(Duration::from_secs(59)).await;
    eventually("the third Job, and the first is gone", || async { names().await == expected }).await;
    ended(&cluster, &expected[1]).await;
    eventually("the status tells of it", || async {
        let status = cluster.get::<CronJob>("default", "tick").await.unwrap().status.unwrap();
        status.active.is_none() && status.last_successful_time >= status.last_schedule_time
    })
    .await;
    cluster.merge::<CronJob>("default", "tick", &json!({"spec": {"suspend": true}})).await;
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(names().await, expected);
    cluster.delete::<CronJob>("default", "tick", &DeleteParams::background()).await;
    eventually("its Jobs and their Pods follow", || async {
        names().await.is_empty() && cluster.list::<Pod>("default").await.is_empty()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_eviction_spends_a_budget() {
    let cluster = Cluster::start_with(6, node()).await;
    cluster.create(&deployment("web", 3, "i")).await;
    let budget: PodDisruptionBudget = object(json!({
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"minAvailable": "60%", "selector": {"matchLabels": {"app": "web"}}},
    }));
    cluster.create(&budget).await;
    let allowed = |count: i32| {
        let cluster = &cluster;
        async move {
            eventually(&format!("{count} may go"), || async {
                let status = cluster.get::<PodDisruptionBudget>("default", "b").await.unwrap().status.unwrap();
                status.disruptions_allowed == Some(count) && status.current_healthy == Some(3)
            })
            .await;
        }
    };
    allowed(1).await;
    let pods = cluster.of::<Pod>("default");
    let names: Vec<_> = cluster.list::<Pod>("default").await.iter().map(ResourceExt::name_any).collect();
    let dry = EvictParams {
        post_options: kube::api::PostParams { dry_run: true, ..Default::default() },
        ..EvictParams::default()
    };
    pods.evict(&names[0], &dry).await.unwrap();
    allowed(1).await;
    pods.evict(&names[0], &EvictParams::default()).await.unwrap();
    let Err(kube::Error::Api(refused)) = pods.evict(&names[1], &EvictParams::default()).await else {
        panic!("the budget is spent");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(refused.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let causes = refused.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
    assert_eq!(causes[0].reason, "DisruptionBudget");
    let texts = [
        "The disruption budget b does not allow evicting pods currently",
        "The disruption budget b needs 2 healthy pods and has 2 currently",
    ];
    assert!(texts.contains(&causes[0].message.as_str()), "{}", causes[0].message);
    // The next Pod is there, and the budget has forgotten the one that went.
    allowed(1).await;
    assert!(cluster.get::<Pod>("default", &names[0]).await.is_none());
    let forgotten = cluster.get::<PodDisruptionBudget>("default", "b").await.unwrap().status.unwrap();
    assert_eq!(forgotten.disrupted_pods, None);
    let other: PodDisruptionBudget = object(json!({
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {}},
    }));
    cluster.create(&other).await;
    let Err(kube::Error::Api(refused)) = pods.evict(&names[1], &EvictParams::default()).await else {
        panic!("two budgets are one too many");
    };
    let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((refused.code, refused.message.as_str()), (500, text));
    cluster.stop().await;
}
