//! Tables of built-in kinds: the columns that kubectl prints, and what stands in them.
//!
//! A [`Printer`] belongs to a kind: its columns, and a function from an object to its cells, one for each column. Kinds without a printer of
//! their own have a name and a time. Columns marked wide are for `kubectl get -o wide`. Headings and cells are those of Kubernetes' own
//! printers; of the descriptions, which no client shows, those of the kinds that are listed most.
//!
//! Custom kinds bring their columns along, see `crd`.

mod age;
mod autoscaling;
mod cluster;
mod config;
mod network;
mod pod;
mod rbac;
mod storage;
mod workloads;

use base_rt::Timestamp;
use serde_json::{Value, json};

pub(crate) use age::age;

use crate::kinds::Kind;
use crate::value::{at, bool_at, i64_at, str_at};

/// What kubectl shows where there is nothing.
const NONE: &str = "<none>";
const UNSET: &str = "<unset>";
const UNKNOWN: &str = "<unknown>";

const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column of a built-in kind.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    description: &'static str,
    /// 0 for columns that are always shown, 1 for those of `-o wide`.
    priority: u8,
}

impl Column {
    const fn about(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    fn definition(self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", description: "", priority: 0 }
}

const fn number(name: &'static str) -> Column {
    Column { kind: "integer", ..text(name) }
}

const NAME: Column = Column { format: "name", description: NAME_DESCRIPTION, ..text("Name") };
const AGE: Column = Column { description: AGE_DESCRIPTION, ..text("Age") };
const CREATED_AT: Column = Column { kind: "date", description: AGE_DESCRIPTION, ..text("Created At") };

/// How a kind is shown.
struct Printer {
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// Kinds that have nothing to show but that they are.
const PLAIN: Printer = Printer { columns: &[NAME, CREATED_AT], cells: |object, _| vec![name(object), created(object)] };
const AGED: Printer =
    Printer { columns: &[NAME, AGE], cells: |object, now| vec![name(object), object_age(object, now)] };

fn printer(kind: &Kind) -> &'static Printer {
    match (kind.group, kind.kind) {
        ("", "Pod") => &pod::POD,
        ("", "PodTemplate") => &workloads::POD_TEMPLATE,
        ("", "ReplicationController") => &workloads::REPLICATION_CONTROLLER,
        ("apps", "Deployment") => &workloads::DEPLOYMENT,
        ("apps", "ReplicaSet") => &workloads::REPLICA_SET,
        ("apps", "StatefulSet") => &workloads::STATEFUL_SET,
        ("apps", "DaemonSet") => &workloads::DAEMON_SET,
        ("apps", "ControllerRevision") => &workloads::CONTROLLER_REVISION,
        ("batch", "Job") => &workloads::JOB,
        ("batch", "CronJob") => &workloads::CRON_JOB,
        ("", "Service") => &network::SERVICE,
        ("", "Endpoints") => &network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => &network::ENDPOINT_SLICE,
        ("networking.k8s.io", "Ingress") => &network::INGRESS,
        ("networking.k8s.io", "IngressClass") => &network::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &network::NETWORK_POLICY,
        ("", "ConfigMap") => &config::CONFIG_MAP,
        ("", "Secret") => &config::SECRET,
        ("", "ServiceAccount") => &AGED,
        ("", "ResourceQuota") => &config::RESOURCE_QUOTA,
        ("" | "events.k8s.io", "Event") => &cluster::EVENT,
        ("", "Namespace") => &cluster::NAMESPACE,
        ("", "Node") => &cluster::NODE,
        ("coordination.k8s.io", "Lease") => &cluster::LEASE,
        ("scheduling.k8s.io", "PriorityClass") => &cluster::PRIORITY_CLASS,
        ("node.k8s.io", "RuntimeClass") => &cluster::RUNTIME_CLASS,
        ("apiregistration.k8s.io", "APIService") => &cluster::API_SERVICE,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            &cluster::WEBHOOKS
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::BINDING,
        ("", "PersistentVolume") => &storage::VOLUME,
        ("", "PersistentVolumeClaim") => &storage::CLAIM,
        ("storage.k8s.io", "StorageClass") => &storage::CLASS,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVER,
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v1" => &autoscaling::AUTOSCALER_V1,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::AUTOSCALER,
        ("policy", "PodDisruptionBudget") => &autoscaling::DISRUPTION_BUDGET,
        _ => &PLAIN,
    }
}

/// The columns of a kind, as `columnDefinitions`.
pub(crate) fn columns(kind: &Kind) -> Value {
    printer(kind).columns.iter().map(|column| column.definition()).collect()
}

/// The columns of a custom kind that names none, or the one before those that it names.
pub(crate) fn custom_columns(has_age: bool) -> Vec<Value> {
    let mut columns = vec![NAME.definition()];
    if has_age {
        columns.push(Column { kind: "date", ..AGE }.definition());
    }
    columns
}

/// The cells of an object, one for each column.
pub(crate) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    (printer(kind).cells)(object, now)
}

fn name(object: &Value) -> Value {
    str_at(object, &["metadata", "name"]).into()
}

fn created(object: &Value) -> Value {
    str_at(object, &["metadata", "creationTimestamp"]).into()
}

fn object_age(object: &Value, now: Timestamp) -> Value {
    age(str_at(object, &["metadata", "creationTimestamp"]), now).into()
}

/// An integer, 0 if there is none.
fn integer(object: &Value, path: &[&str]) -> i64 {
    i64_at(object, path).unwrap_or_default()
}

/// A string, or `<none>`.
fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// A boolean as Go prints it.
fn boolean(object: &Value, path: &[&str]) -> &'static str {
    match bool_at(object, path) {
        Some(true) => "true",
        _ => "false",
    }
}

/// A number, a string or a percentage, as text.
fn scalar(object: &Value, path: &[&str]) -> Option<String> {
    at(object, path).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn join(parts: &[String]) -> String {
    if parts.is_empty() { NONE.to_owned() } else { parts.join(",") }
}

/// The first few of many, and how many more there are.
fn first_few(parts: impl Iterator<Item = String>, at_most: usize, empty: &str) -> String {
    let mut shown = Vec::new();
    let mut more = 0;
    for part in parts {
        if shown.len() < at_most { shown.push(part) } else { more += 1 }
    }
    match (shown.is_empty(), more) {
        (true, _) => empty.to_owned(),
        (false, 0) => shown.join(","),
        (false, more) => format!("{} + {more} more...", shown.join(",")),
    }
}

/// Whether a condition of an object's status is `True`.
fn has_condition(object: &Value, kind: &str) -> bool {
    crate::crd::has_condition(object, kind)
}

#[cfg(test)]
mod tests;
