//! What an explanation says, as plain data: for whoever renders it, and for programs.

use base_controller::Key;
use jiff::Timestamp;
use knative_apis::condition::{Condition, ConditionedStatus, READY};
use knative_apis::serving::v1::Service;
use knative_apis::serving::v1::revision::ACTIVE;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reading::Seen;
use crate::pods;

/// Why a Service is as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When it was so.
    pub at: Timestamp,
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Where it is reached from outside, or from inside if it is cluster-local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether what is said is about its newest spec.
    pub is_current: bool,
    /// Its Ready condition.
    pub ready: Condition,
    /// What else is not as it should be, of the objects that it consists of: outermost first.
    pub troubles: Vec<Finding>,
    /// Containers that do not run as they should, with their last words.
    pub containers: Vec<ContainerTrouble>,
    /// Warnings about it, its Revisions and their Pods: the latest last. Looked for if something is wrong.
    pub events: Vec<WarningEvent>,
    /// The Revisions that count: those with traffic first.
    pub revisions: Vec<RevisionReport>,
    /// What came of each object's last reconcile.
    pub controllers: Vec<Outcome>,
    /// What whoever asks may not read, or was too much.
    pub withheld: Vec<String>,
}

/// A condition that is not True.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Whose: `revision/hello-00001`.
    pub object: String,
    /// The condition.
    pub condition: Condition,
}

/// A container that does not run as it should, or a Pod that has no node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerTrouble {
    /// The Pod.
    pub pod: String,
    /// The container; none if it is about the whole Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What it does instead, in words: `waiting: CrashLoopBackOff: …`.
    pub state: String,
    /// How often it was started again.
    pub restarts: i32,
    /// How it ended the last time, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
    /// Whether `log` is that of the run before.
    pub is_log_of_previous: bool,
    /// Its last lines.
    pub log: Vec<String>,
}

/// A Kubernetes Event of type Warning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarningEvent {
    /// What it is about: `pod/hello-00001-deployment-…`.
    pub object: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// How often it happened.
    pub count: i32,
    /// When it happened last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// A Revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionReport {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether it is the latest one that is ready.
    pub is_latest_ready: bool,
    /// The traffic that it gets.
    pub traffic: Vec<TrafficShare>,
    /// Its Ready condition.
    pub ready: Condition,
    /// Its Active condition: not True at zero.
    pub active: Condition,
    /// How many of its Pods take requests.
    pub pods_ready: i32,
    /// How many Pods it has, whatever their state.
    pub pods: usize,
    /// What scales it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
}

/// A part of a Service's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficShare {
    /// How much, in percent.
    pub percent: i64,
    /// Its tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The tag's own URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What scales a Revision, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// The autoscaler's class.
    pub class: String,
    /// What is measured.
    pub metric: String,
    /// How much of it a Pod should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// How much of it a Pod can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What Knative's own autoscaler looks at beside that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// The least Pods.
    pub min: i32,
    /// The most Pods; 0 is no limit.
    pub max: i32,
    /// How many Pods are wanted; none before anything is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
    /// How many there are, as the autoscaler has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<i32>,
    /// Whether a Route leads to it.
    pub is_reachable: bool,
    /// Whether requests pass the activator; none where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_activator_in_path: Option<bool>,
    /// The last decision and what it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Over which times Knative's own autoscaler averages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Windows {
    /// The stable window, in seconds.
    pub stable_s: f64,
    /// The panic window, in seconds.
    pub panic_s: f64,
    /// The load, in percent of what there is capacity for, that begins panic.
    pub panic_threshold_percent: f64,
    /// How large a burst is kept room for: the activator stays in the path while there is none. -1: it always stays.
    pub target_burst_capacity: f64,
}

/// The autoscaler's last decision about a Revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// How many Pods; -1 before anything is known.
    pub desired: i32,
    /// How much larger a burst could be than the one that is kept room for.
    pub excess_burst_capacity: i32,
    /// The average over the stable window.
    pub stable: f64,
    /// The average over the panic window.
    pub panic: f64,
    /// How many Pods took requests.
    pub ready: i32,
    /// Whether a surge lasts: Pods are only added.
    pub is_panicking: bool,
    /// Whether fewer would be wanted, had it been watched for a whole window.
    pub is_held: bool,
}

/// What came of an object's last reconcile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whose: `revision/hello-00001`.
    pub object: String,
    /// By which controller.
    pub controller: String,
    /// When.
    pub at: Timestamp,
    /// What: `done`, `again in …`, `conflict`, `refused`, or an error.
    pub outcome: String,
    /// What the API said of a write that it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Outcome {
    pub(super) fn read(controller: &str, (kind, key): (&str, &Key), last: &Value) -> Option<Self> {
        Some(Self {
            object: format!("{}/{}", kind.to_lowercase(), key.name()),
            controller: controller.to_owned(),
            at: last.get("at")?.as_str()?.parse().ok()?,
            outcome: last.get("outcome")?.as_str()?.to_owned(),
            refused: last.pointer("/refused/message").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Whether somebody should know of it: all else is on its way or done.
    pub fn is_trouble(&self) -> bool {
        let is_usual = matches!(self.outcome.as_str(), "done" | "conflict") || self.outcome.starts_with("again");
        self.refused.is_some() || !is_usual
    }
}

/// A Revision as it was read.
pub(super) fn revision(service: &Service, seen: &Seen, scaling: Option<Scaling>) -> RevisionReport {
    let condition = |type_| {
        let found = seen.revision.as_ref().and_then(|revision| revision.status.condition(type_));
        found.cloned().unwrap_or_default()
    };
    let targets = service.status.traffic.iter().filter(|target| target.revision_name == seen.name);
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let traffic =
        targets.map(|target| TrafficShare { percent: target.share(), tag: said(&target.tag), url: said(&target.url) });
    RevisionReport {
        name: seen.name.clone(),
        exists: seen.revision.is_some(),
        is_latest_ready: service.status.latest_ready_revision_name == seen.name,
        traffic: traffic.collect(),
        ready: condition(READY),
        active: condition(ACTIVE),
        pods_ready: pods::ready_count(&seen.pods),
        pods: seen.pods.len(),
        scaling,
    }
}
