//! Pods: the one word that says how a Pod is, out of phase, conditions and the states of its containers.

use base_rt::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, NONE, Printer, age, integer, name, object_age, or_none, text};
use crate::value::{at, bool_at, i64_at, list_at, str_at};

pub(super) const POD: Printer = Printer {
    columns: &[
        NAME,
        text("Ready").about("The aggregate readiness state of this pod for accepting traffic."),
        text("Status").about("The aggregate status of the containers in this pod."),
        text("Restarts").about("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
        AGE,
        text("IP").about("podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.").wide(),
        text("Node").about("NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename").wide(),
        text("Nominated Node").about("nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.").wide(),
        text("Readiness Gates").about("If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates").wide(),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let ip = list_at(pod, &["status", "podIPs"]).first().map_or("", |ip| str_at(ip, &["ip"]));
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.clone().into(),
        summary.restarts.text(now).into(),
        object_age(pod, now),
        or_none(ip).into(),
        or_none(str_at(pod, &["spec", "nodeName"])).into(),
        or_none(str_at(pod, &["status", "nominatedNodeName"])).into(),
        readiness_gates(pod).into(),
    ]
}

/// How a Pod is.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

/// How often containers were started again, and when last.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += integer(status, &["restartCount"]);
        let ended = str_at(status, &["lastState", "terminated", "finishedAt"]).parse::<Timestamp>().ok();
        self.last = self.last.max(ended);
    }

    fn text(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, age(&last.to_string(), now)),
            _ => self.count.to_string(),
        }
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let phase = str_at(pod, &["status", "phase"]);
        let mut summary = Self {
            reason: Some(str_at(pod, &["status", "reason"])).filter(|r| !r.is_empty()).unwrap_or(phase).to_owned(),
            ready: 0,
            total: list_at(pod, &["spec", "containers"]).len(),
            restarts: Restarts::default(),
        };
        if str_at(condition(pod, "PodScheduled"), &["reason"]) == "SchedulingGated" {
            "SchedulingGated".clone_into(&mut summary.reason);
        }
        let (is_initializing, sidecars) = summary.look_at_init_containers(pod);
        if !is_initializing || is_true(pod, "Initialized") {
            summary.restarts = sidecars;
            summary.look_at_containers(pod);
        }
        if at(pod, &["metadata", "deletionTimestamp"]).is_some() {
            if str_at(pod, &["status", "reason"]) == "NodeLost" {
                "Unknown".clone_into(&mut summary.reason);
            } else if !matches!(phase, "Succeeded" | "Failed") {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// Whether the Pod still initializes, and the restarts of init containers that stay.
    fn look_at_init_containers(&mut self, pod: &Value) -> (bool, Restarts) {
        let specs = list_at(pod, &["spec", "initContainers"]);
        let stays = |name: &str| {
            let spec = specs.iter().find(|spec| str_at(spec, &["name"]) == name);
            spec.is_some_and(|spec| str_at(spec, &["restartPolicy"]) == "Always")
        };
        self.total += specs.iter().filter(|spec| str_at(spec, &["restartPolicy"]) == "Always").count();
        let mut sidecars = Restarts::default();
        for (index, status) in list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
            let stays = stays(str_at(status, &["name"]));
            self.restarts.add(status);
            if stays {
                sidecars.add(status);
            }
            let terminated = at(status, &["state", "terminated"]);
            if terminated.is_some_and(|end| integer(end, &["exitCode"]) == 0) {
                continue;
            }
            if stays && bool_at(status, &["started"]) == Some(true) {
                self.ready += usize::from(bool_at(status, &["ready"]) == Some(true));
                continue;
            }
            let waiting = str_at(status, &["state", "waiting", "reason"]);
            self.reason = match terminated {
                Some(end) => format!("Init:{}", end_text(end)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", specs.len()),
            };
            return (true, sidecars);
        }
        (false, sidecars)
    }

    fn look_at_containers(&mut self, pod: &Value) {
        let mut has_running = false;
        for status in list_at(pod, &["status", "containerStatuses"]).iter().rev() {
            self.restarts.add(status);
            let waiting = str_at(status, &["state", "waiting", "reason"]);
            let terminated = at(status, &["state", "terminated"]);
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(end) = terminated {
                self.reason = end_text(end);
            } else if bool_at(status, &["ready"]) == Some(true) && at(status, &["state", "running"]).is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && has_running {
            let reason = if is_true(pod, "Ready") { "Running" } else { "NotReady" };
            reason.clone_into(&mut self.reason);
        }
    }
}

/// Why a container ended.
fn end_text(end: &Value) -> String {
    match (str_at(end, &["reason"]), i64_at(end, &["signal"]).unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", integer(end, &["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let conditions = list_at(pod, &["status", "conditions"]);
    conditions.iter().find(|condition| str_at(condition, &["type"]) == kind).unwrap_or(&Value::Null)
}

fn is_true(pod: &Value, kind: &str) -> bool {
    str_at(condition(pod, kind), &["status"]) == "True"
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(pod, str_at(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}
