//! Deployments take the steps that Kubernetes' own controllers were recorded to take: how their ReplicaSets are scaled, and which
//! conditions they go through. The recording lies beside the project; without it the test is left out.

use std::path::Path;
use std::time::Duration;

use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use testkit::objects::deployment;
use testkit::{Cluster, Timeline, eventually};

const RECORDING: &str = "../../../shared/golden/controllers-1.36.jsonl";
const NAME: &str = "d1";
/// How long Events may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);
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
        let conditions = deployment["status"]["conditions"].as_array().into_iter().flatten().map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            json!([text("type"), text("status"), text("reason"), names.plain(text("message"))])
        });
        let conditions: Value = conditions.collect::<Vec<_>>().into();
        if self.conditions.last() != Some(&conditions) {
            self.conditions.push(conditions);
        }
    }
}

/// ReplicaSets by the order in which they are first named.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// A text in which ReplicaSets are called `set-N`.
    fn plain(&mut self, text: &str) -> String {
        let words = text.split(' ').map(|word| {
            let name = word.trim_matches('"');
            if !name.starts_with("d1-") {
                return word.to_owned();
            }
            let number = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
                self.0.push(name.to_owned());
                self.0.len() - 1
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
            if let Some(at) = STEPS.iter().position(|(step, _)| *step == command) {
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
            Some("Deployment") => seen.deployment(&line["object"], &mut names),
            _ => {}
        }
    }
    assert_eq!(steps.len(), STEPS.len(), "the recording has every step");
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
    let (events, deployments) =
        (Timeline::<Event>::start(&context).await, Timeline::<Deployment>::start(&context).await);
    let mut names = Names::default();
    cluster.create(&deployment(NAME, 2, "b:1")).await;
    settled(&cluster).await;
    take(&events, &deployments, &mut names, 1).await;
    for ((step, change), recorded) in STEPS.iter().zip(&recorded) {
        cluster.merge::<Deployment>("default", NAME, &change()).await;
        settled(&cluster).await;
        let seen = take(&events, &deployments, &mut names, recorded.scalings.len()).await;
        assert_eq!(&seen, recorded, "{step}");
    }
    cluster.stop().await;
}

/// What has been seen since the last call, once so many scalings have been told: Events come a little later.
async fn take(events: &Timeline<Event>, deployments: &Timeline<Deployment>, names: &mut Names, count: usize) -> Seen {
    let mut seen = Seen::default();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while seen.scalings.len() < count && tokio::time::Instant::now() < deadline {
        for event in events.take() {
            seen.event(&serde_json::to_value(&*event).unwrap(), names);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for deployment in deployments.take() {
        seen.deployment(&serde_json::to_value(&*deployment).unwrap(), names);
    }
    seen
}
