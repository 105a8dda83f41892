//! The cluster itself: nodes, namespaces, events, leases, classes, registrations.

use base_rt::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, NONE, Printer, UNKNOWN, age, boolean, integer, name, number, object_age, or_none, text};
use crate::value::{at, bool_at, entries_at, i64_at, list_at, str_at};

pub(super) const NAMESPACE: Printer = Printer {
    columns: &[NAME, text("Status").about("The status of the namespace"), AGE],
    cells: |object, now| vec![name(object), str_at(object, &["status", "phase"]).into(), object_age(object, now)],
};

pub(super) const NODE: Printer = Printer {
    columns: &[
        NAME,
        text("Status").about("The status of the node"),
        text("Roles").about("The roles of the node"),
        AGE,
        text("Version").about("Kubelet Version reported by the node."),
        text("Internal-IP").about("List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
        text("External-IP").about("List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
        text("OS-Image").about("OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).").wide(),
        text("Kernel-Version").about("Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).").wide(),
        text("Container-Runtime").about("ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).").wide(),
    ],
    cells: |object, now| {
        let info = |field: &str| str_at(object, &["status", "nodeInfo", field]).to_owned();
        let known = |field: &str| Some(info(field)).filter(|text| !text.is_empty()).unwrap_or_else(|| UNKNOWN.into());
        vec![
            name(object),
            node_status(object).into(),
            node_roles(object).into(),
            object_age(object, now),
            info("kubeletVersion").into(),
            node_address(object, "InternalIP").into(),
            node_address(object, "ExternalIP").into(),
            known("osImage").into(),
            known("kernelVersion").into(),
            known("containerRuntimeVersion").into(),
        ]
    },
};

pub(super) const EVENT: Printer = Printer {
    columns: &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        text("Subobject").wide(),
        text("Source").wide(),
        text("Message"),
        text("First Seen").wide(),
        text("Count").wide(),
        super::Column { priority: 1, ..NAME },
    ],
    cells: event,
};

pub(super) const LEASE: Printer = Printer {
    columns: &[NAME, text("Holder"), AGE],
    cells: |object, now| {
        vec![name(object), str_at(object, &["spec", "holderIdentity"]).into(), object_age(object, now)]
    },
};

pub(super) const PRIORITY_CLASS: Printer = Printer {
    columns: &[NAME, number("Value"), text("Global-Default"), AGE, text("PreemptionPolicy")],
    cells: |object, now| {
        vec![
            name(object),
            integer(object, &["value"]).into(),
            boolean(object, &["globalDefault"]).into(),
            object_age(object, now),
            str_at(object, &["preemptionPolicy"]).into(),
        ]
    },
};

pub(super) const RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, text("Handler"), AGE],
    cells: |object, now| vec![name(object), str_at(object, &["handler"]).into(), object_age(object, now)],
};

pub(super) const WEBHOOKS: Printer = Printer {
    columns: &[NAME, number("Webhooks"), AGE],
    cells: |object, now| vec![name(object), list_at(object, &["webhooks"]).len().into(), object_age(object, now)],
};

pub(super) const API_SERVICE: Printer = Printer {
    columns: &[NAME, text("Service"), text("Available"), AGE],
    cells: |object, now| {
        let service = match at(object, &["spec", "service"]) {
            Some(service) => format!("{}/{}", str_at(service, &["namespace"]), str_at(service, &["name"])),
            None => "Local".to_owned(),
        };
        let conditions = list_at(object, &["status", "conditions"]);
        let available = conditions.iter().find(|condition| str_at(condition, &["type"]) == "Available");
        let available = available.map_or("Unknown".to_owned(), |condition| match str_at(condition, &["status"]) {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", str_at(condition, &["reason"])),
        });
        vec![name(object), service.into(), available.into(), object_age(object, now)]
    },
};

fn node_status(node: &Value) -> String {
    let conditions = list_at(node, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| str_at(condition, &["type"]) == "Ready");
    let status = match ready.map(|condition| str_at(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let is_closed = bool_at(node, &["spec", "unschedulable"]) == Some(true);
    format!("{status}{}", if is_closed { ",SchedulingDisabled" } else { "" })
}

fn node_roles(node: &Value) -> String {
    let labels = entries_at(node, &["metadata", "labels"]);
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or_none(&roles.join(",")).to_owned()
}

fn node_address(node: &Value, kind: &str) -> String {
    let addresses = list_at(node, &["status", "addresses"]);
    let found = addresses.iter().find(|address| str_at(address, &["type"]) == kind);
    found.map_or(NONE, |address| str_at(address, &["address"])).to_owned()
}

/// Both groups' Events: the newer one renamed fields and keeps the old ones as `deprecated…`.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |a: &[&str], b: &[&str]| match str_at(object, a) {
        "" => str_at(object, b).to_owned(),
        text => text.to_owned(),
    };
    let first = either(&["firstTimestamp"], &["deprecatedFirstTimestamp"]);
    let first = if first.is_empty() { str_at(object, &["eventTime"]).to_owned() } else { first };
    let last = either(&["lastTimestamp"], &["deprecatedLastTimestamp"]);
    let mut last = if last.is_empty() { first.clone() } else { last };
    let counted = i64_at(object, &["count"]).or_else(|| i64_at(object, &["deprecatedCount"]));
    // An Event that happened once need not say so.
    let mut count = counted.filter(|count| *count != 0).unwrap_or(1);
    if let Some(series) = at(object, &["series"]) {
        last = str_at(series, &["lastObservedTime"]).to_owned();
        count = integer(series, &["count"]);
    }
    let about = if object["involvedObject"].is_object() { &object["involvedObject"] } else { &object["regarding"] };
    let kind = str_at(about, &["kind"]).to_lowercase();
    let target = match str_at(about, &["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        age(&last, now).into(),
        str_at(object, &["type"]).into(),
        str_at(object, &["reason"]).into(),
        target.into(),
        str_at(about, &["fieldPath"]).into(),
        event_source(object).into(),
        either(&["message"], &["note"]).trim().into(),
        age(&first, now).into(),
        count.into(),
        name(object),
    ]
}

fn event_source(event: &Value) -> String {
    let source = if event["source"].is_object() { &event["source"] } else { &event["deprecatedSource"] };
    let or = |text: &str, names: [&str; 2]| {
        let candidates = [text, str_at(event, &[names[0]]), str_at(event, &[names[1]])];
        candidates.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned()
    };
    let component = or(str_at(source, &["component"]), ["reportingComponent", "reportingController"]);
    let host = or(str_at(source, &["host"]), ["reportingInstance", "reportingInstance"]);
    if host.is_empty() { component } else { format!("{component}, {host}") }
}
