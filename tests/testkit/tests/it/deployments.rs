//! Deployments take the steps that Kubernetes' own controllers were recorded to take: how their ReplicaSets are scaled and numbered, and which
//! conditions they go through. The recording lies beside the project; without it that test is left out. What was not recorded, pauses and
//! deadlines, is checked against what Kubernetes says of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::objects::deployment;
use testkit::{Cluster, FakeNodeConfig, Life, Timeline, eventually};

const RECORDING: &str = "../../../shared/golden/controllers-1.36.jsonl";
const NAME: &str = "d1";
/// How long Events may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The recording's last command about the Deployment.
const DELETION: &str = "delete deploy d1 --cascade=foreground --timeout=30s";
/// A command of the recording's user, and the change of the Deployment that it is.
type Step = (&'static str, fn() -> Value);
const STEPS: [Step; 4] = [
    ("apply -f dep2.yaml", || image("b:2")),
    ("scale deploy/d1 --replicas=3", || json!({"spec": {"replicas": 3}})),
    ("rollout undo deploy/d1", || image("b:1")),
    ("set image deploy/d1 c=bad:1", || image("bad:1")),
];

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// What was seen of a Deployment in one step.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Messages of its Events.
    scalings: Vec<String>,
    /// Its conditions (type, status, reason, message), without repetitions.
    conditions: Vec<Value>,
    /// Its numbers, without repetitions.
    revisions: Vec<String>,
    /// Numbers of its ReplicaSets that have changed, and those that they had before.
    of_sets: BTreeMap<String, (String, String)>,
}

impl Seen {
    fn event(&mut self, event: &Value, names: &mut Names) {
        let is_ours = event["involvedObject"]["kind"] == "Deployment" && event["involvedObject"]["name"] == NAME;
        if is_ours && event["reason"] == "ScalingReplicaSet" {
            let message = event["message"].as_str().unwrap();
            self.scalings.push(names.plain(message.trim_start_matches("(combined from similar events): ")));
        }
    }

    fn deployment(&mut self, deployment: &Value, names: &mut Names) {
        if deployment["metadata"]["name"] != NAME {
            return;
        }
        let conditions = deployment["status"]["conditions"].as_array().into_iter().flatten().map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            json!([text("type"), text("status"), text("reason"), names.plain(text("message"))])
        });
        let conditions: Value = conditions.collect::<Vec<_>>().into();
        if self.conditions.last() != Some(&conditions) {
            self.conditions.push(conditions);
        }
        let revision = annotation(deployment, "revision");
        if self.revisions.last() != Some(&revision) {
            self.revisions.push(revision);
        }
    }

    fn replica_set(&mut self, set: &Value, names: &mut Names) {
        let name = set["metadata"]["name"].as_str().unwrap();
        if !name.starts_with("d1-") {
            return;
        }
        let name = names.plain(name);
        let numbers = (annotation(set, "revision"), annotation(set, "revision-history"));
        if names.numbers.insert(name.clone(), numbers.clone()).as_ref() != Some(&numbers) {
            self.of_sets.insert(name, numbers);
        }
    }
}

fn annotation(object: &Value, name: &str) -> String {
    let annotations = &object["metadata"]["annotations"];
    annotations[format!("deployment.kubernetes.io/{name}")].as_str().unwrap_or_default().to_owned()
}

/// ReplicaSets by the order in which they are first named, and their numbers as last seen.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    numbers: BTreeMap<String, (String, String)>,
}

impl Names {
    /// A text in which ReplicaSets are called `set-N`.
    fn plain(&mut self, text: &str) -> String {
        let words = text.split(' ').map(|word| {
            let name = word.trim_matches('"');
            if !name.starts_with("d1-") {
                return word.to_owned();
            }
            let number = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
                self.names.push(name.to_owned());
                self.names.len() - 1
            });
            word.replace(name, &format!("set-{number}"))
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// What the recording has of each step; none without a recording.
fn recorded() -> Option<Vec<Seen>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    let text = std::fs::read_to_string(path).ok()?;
    let (mut names, mut current, mut steps) = (Names::default(), None, Vec::new());
    // What was there before the first step names the first ReplicaSet.
    let mut before = Seen::default();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(command) = line["cmd"].as_str() {
            let waits = command.starts_with("rollout status") || command.starts_with("rollout history");
            if let Some(at) = STEPS.iter().map(|(step, _)| *step).chain([DELETION]).position(|step| step == command) {
                assert_eq!(at, steps.len(), "the recording has the steps in order");
                steps.push(Seen::default());
                current = Some(at);
            } else if !waits {
                current = None;
            }
            continue;
        }
        let seen = match current {
            Some(at) => &mut steps[at],
            None => &mut before,
        };
        match line["kind"].as_str() {
            Some("Event") => seen.event(&line["object"], &mut names),
            Some("Deployment") if line["type"] != "DELETED" => seen.deployment(&line["object"], &mut names),
            Some("ReplicaSet") if line["type"] != "DELETED" => seen.replica_set(&line["object"], &mut names),
            _ => {}
        }
    }
    assert_eq!(steps.len(), STEPS.len() + 1, "the recording has every step");
    Some(steps)
}

/// Whether nothing is left to do.
fn is_settled(deployment: &Deployment) -> bool {
    let (spec, status) = (&deployment.spec, deployment.status.clone().unwrap_or_default());
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    let has_progressed = status.conditions.iter().flatten().any(|condition| {
        condition.type_.as_deref() == Some("Progressing")
            && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
    });
    status.observed_generation == deployment.metadata.generation
        && counts.iter().all(|count| *count == spec.replicas)
        && has_progressed
}

async fn settled(cluster: &Cluster) {
    eventually("the Deployment settles", || async {
        cluster.get::<Deployment>("default", NAME).await.is_some_and(|deployment| is_settled(&deployment))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_takes_the_recorded_steps() {
    let Some(recorded) = recorded() else {
        println!("left out: there is no recording at {RECORDING}");
        return;
    };
    let cluster = Cluster::start(1).await;
    let context = Context::new(ContextConfig {
        client: cluster.client(),
        clock: cluster.clock,
        tasks: cluster.tasks.clone(),
        metrics: Scope::root(),
        seed: 1,
        component: "test",
    });
    let mut watched = Watched {
        events: Timeline::start(&context).await,
        deployments: Timeline::start(&context).await,
        sets: Timeline::start(&context).await,
        names: Names::default(),
    };
    cluster.create(&deployment(NAME, 2, "b:1")).await;
    settled(&cluster).await;
    watched.take(|seen, _| seen.scalings.len() == 1).await;
    for ((step, change), recorded) in STEPS.iter().zip(&recorded) {
        cluster.merge::<Deployment>("default", NAME, &change()).await;
        settled(&cluster).await;
        let seen = watched.take(|seen, _| seen.scalings.len() == recorded.scalings.len()).await;
        assert_eq!(&seen, recorded, "{step}");
    }
    goes_after_its_sets(&cluster).await;
    // Events come in order: that of something later says that none of the Deployment is to come.
    cluster.create(&deployment("later", 1, "b:1")).await;
    let seen = watched.take(|_, event| event.involved_object.name.as_deref() == Some("later")).await;
    assert_eq!(seen, recorded[STEPS.len()], "{DELETION}");
    cluster.stop().await;
}

/// Deleted in the foreground it stays for as long as one of its ReplicaSets does.
async fn goes_after_its_sets(cluster: &Cluster) {
    let held = cluster.list::<ReplicaSet>("default").await.remove(0).metadata.name.unwrap();
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    cluster.merge::<ReplicaSet>("default", &held, &finalizers(json!(["example.com/held"]))).await;
    cluster.delete::<Deployment>("default", NAME, &DeleteParams::foreground()).await;
    eventually("the held ReplicaSet is the last", || async {
        let sets = cluster.list::<ReplicaSet>("default").await;
        sets.len() == 1 && sets[0].metadata.deletion_timestamp.is_some()
    })
    .await;
    let waiting = cluster.get::<Deployment>("default", NAME).await.unwrap();
    assert_eq!(waiting.metadata.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
    cluster.merge::<ReplicaSet>("default", &held, &finalizers(Value::Null)).await;
    eventually("the Deployment is gone", || async {
        cluster.get::<Deployment>("default", NAME).await.is_none()
            && cluster.list::<ReplicaSet>("default").await.is_empty()
    })
    .await;
}

/// What a test watches.
struct Watched {
    events: Timeline<Event>,
    deployments: Timeline<Deployment>,
    sets: Timeline<ReplicaSet>,
    names: Names,
}

impl Watched {
    /// What has been seen since the last call, once `is_last` of an Event and what was seen with it: Events come a little later.
    async fn take(&mut self, is_last: impl Fn(&Seen, &Event) -> bool) -> Seen {
        let mut seen = Seen::default();
        let mut is_over = false;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_over && tokio::time::Instant::now() < deadline {
            for event in self.events.take() {
                seen.event(&json!(*event), &mut self.names);
                is_over |= is_last(&seen, &event);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.deployments.take().iter().for_each(|deployment| seen.deployment(&json!(**deployment), &mut self.names));
        self.sets.take().iter().for_each(|set| seen.replica_set(&json!(**set), &mut self.names));
        seen
    }
}

/// What the condition `Progressing` says: status, reason, message.
async fn progressing(cluster: &Cluster) -> (String, String, String) {
    let deployment = cluster.get::<Deployment>("default", NAME).await.unwrap();
    let conditions = deployment.status.unwrap_or_default().conditions.unwrap_or_default().into_iter();
    let progressing = conditions.filter(|condition| condition.type_.as_deref() == Some("Progressing"));
    let text = |text: Option<String>| text.unwrap_or_default();
    let mut said =
        progressing.map(|condition| (text(condition.status), text(condition.reason), text(condition.message)));
    said.next().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_rolls_nothing_until_it_is_resumed() {
    let cluster = Cluster::start(2).await;
    cluster.create(&deployment(NAME, 2, "b:1")).await;
    settled(&cluster).await;
    let pause = |is_paused: bool| json!({"spec": {"paused": is_paused}});
    cluster.merge::<Deployment>("default", NAME, &pause(true)).await;
    let said = |status: &str, reason: &str, message: &str| (status.to_owned(), reason.to_owned(), message.to_owned());
    let paused = said("Unknown", "DeploymentPaused", "Deployment is paused");
    eventually("it says that it is paused", || async { progressing(&cluster).await == paused }).await;
    // Its template may change and its size: only the size follows.
    cluster.merge::<Deployment>("default", NAME, &image("b:2")).await;
    cluster.merge::<Deployment>("default", NAME, &json!({"spec": {"replicas": 3}})).await;
    eventually("the one set has three Pods", || async {
        let sets = cluster.list::<ReplicaSet>("default").await;
        sets.len() == 1 && sets[0].status.as_ref().and_then(|status| status.ready_replicas) == Some(3)
    })
    .await;
    assert_eq!(progressing(&cluster).await, paused);
    let timeline = Timeline::<Deployment>::start(&cluster.context).await;
    cluster.merge::<Deployment>("default", NAME, &pause(false)).await;
    settled(&cluster).await;
    let resumed = timeline.take().iter().any(|deployment| {
        let conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.clone().any(|condition| {
            condition.reason.as_deref() == Some("DeploymentResumed")
                && condition.message.as_deref() == Some("Deployment is resumed")
        })
    });
    assert!(resumed, "it says that it is resumed");
    assert_eq!(cluster.list::<ReplicaSet>("default").await.len(), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_progress_is_told_of_and_gets_over_it() {
    let life = |pod: &Pod| {
        let image = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|container| container.image.as_deref());
        if image == Some("bad:1") { Life::NeverReady } else { Life::Ready }
    };
    let node = FakeNodeConfig { life: Arc::new(life), ..FakeNodeConfig::default() };
    let cluster = Cluster::start_with(3, node).await;
    let mut made = deployment(NAME, 2, "b:1");
    made.spec.progress_deadline_seconds = Some(30);
    cluster.create(&made).await;
    settled(&cluster).await;
    let begun = tokio::time::Instant::now();
    cluster.merge::<Deployment>("default", NAME, &image("bad:1")).await;
    eventually("it has timed out", || async { progressing(&cluster).await.1 == "ProgressDeadlineExceeded" }).await;
    let waited = begun.elapsed().as_secs();
    assert!((30..40).contains(&waited), "{waited} s");
    let (status, _, message) = progressing(&cluster).await;
    assert_eq!(status, "False");
    assert!(message.starts_with("ReplicaSet \"d1-") && message.ends_with("\" has timed out progressing."), "{message}");
    cluster.merge::<Deployment>("default", NAME, &image("b:1")).await;
    settled(&cluster).await;
    cluster.stop().await;
}
