//! Pods: the one word that says how a Pod is, out of phase, conditions and the states of its containers.

use base_rt::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, NONE, Printer, age, integer, name, object_age, or_none, text};
use crate::value::{at, bool_at, i64_at, list_at, str_at};

pub(super) const POD: Printer = Printer {
    columns: &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        text("IP").wide(),
        text("Node").wide(),
        text("Nominated Node").wide(),
        text("Readiness Gates").wide(),
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
