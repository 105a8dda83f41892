//! Pods as endpoints: their addresses and ports, the Endpoints object, and the groups that slices are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_controller::Change;
use base_controller::overlay::overlay;
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
};
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::slices::{Group, HEADLESS, MANAGED_BY, SERVICE_NAME};
use crate::objects::{owners, pods};

/// Addresses that one Endpoints object has at most.
pub(super) const MAX_ADDRESSES: usize = 1000;
/// Says since when a change could have been told.
pub(super) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Says that there are more addresses than told.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The label of Endpoints that this controller makes.
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// A Pod as something to send traffic to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    ip: String,
    hostname: Option<String>,
    node: Option<String>,
    reference: ObjectReference,
    /// Takes traffic.
    is_ready: bool,
    /// Would take traffic were it not being deleted.
    is_serving: bool,
    is_terminating: bool,
    ready_since: Option<Timestamp>,
    ports: Vec<EndpointPort>,
}

/// Whether two forms of a Pod are the same as endpoints.
pub(super) fn are_alike(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let status = pod.status.as_ref();
        let ip = status.and_then(|status| status.pod_ip.clone());
        (ip, pods::is_ready(pod), pods::is_finished(pod), pods::is_terminating(pod))
    };
    old.metadata.labels == new.metadata.labels
        && old.metadata.uid == new.metadata.uid
        && facts(old) == facts(new)
        && pods::node_name(old) == pods::node_name(new)
}

/// The Pods that have an address and have not finished.
pub(super) fn targets(service: &Service, pods: &[Arc<Pod>]) -> Vec<Target> {
    pods.iter().filter(|pod| !pods::is_finished(pod)).filter_map(|pod| target(service, pod)).collect()
}

fn target(service: &Service, pod: &Pod) -> Option<Target> {
    let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    let spec = pod.spec.as_ref()?;
    let is_of_subdomain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    let is_terminating = pods::is_terminating(pod);
    let is_serving = pods::is_ready(pod);
    Some(Target {
        ip,
        hostname: spec.hostname.clone().filter(|_| is_of_subdomain),
        node: spec.node_name.clone(),
        reference: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        is_ready: publishes_all(service) || (is_serving && !is_terminating),
        is_serving,
        is_terminating,
        ready_since: pods::ready_since(pod),
        ports: service_ports(service).iter().filter_map(|port| endpoint_port(pod, port)).collect(),
    })
}

fn service_ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The Pod's port behind a Service's port; none if the Pod has no port of the name that the Service asks for.
fn endpoint_port(pod: &Pod, port: &ServicePort) -> Option<EndpointPort> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name, protocol)?,
    };
    Some(EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: number,
        protocol: Some(protocol.to_owned()),
        app_protocol: port.app_protocol.clone(),
    })
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let is_meant = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(is_meant).map(|port| port.container_port)
}

/// Since when each ready Pod is ready, by uid.
pub(super) fn ready_since(targets: &[Target]) -> BTreeMap<String, Timestamp> {
    let ready = targets.iter().filter(|target| target.is_ready);
    ready.filter_map(|target| Some((target.reference.uid.clone()?, target.ready_since?))).collect()
}

/// Whether this controller has made the Endpoints.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(ENDPOINTS_MANAGED_BY)).map(String::as_str) == Some(super::NAME)
}

/// The annotation of a change: the earliest time at which one of the Pods that were not told as ready before has become so.
pub(super) fn trigger_time(newly_ready: &BTreeMap<String, Timestamp>, told: &BTreeSet<&str>) -> Value {
    let new = newly_ready.iter().filter(|(uid, _)| !told.contains(uid.as_str())).map(|(_, since)| since);
    new.min().map_or(Value::Null, |since| Value::from(since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// A map to lay over `known` so that it becomes exactly `wanted`.
pub(super) fn exactly(
    known: Option<&BTreeMap<String, String>>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, Value> {
    let gone = known.into_iter().flatten().map(|(name, _)| (name.clone(), Value::Null));
    gone.chain(wanted.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())))).collect()
}

/// Writes the Endpoints object, if it has to be.
pub(super) fn change_endpoints(service: &Service, targets: &[Target], known: Option<&Endpoints>) -> Option<Change> {
    let (subsets, is_cut) = subsets(service, targets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(ENDPOINTS_MANAGED_BY.to_owned(), super::NAME.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let told = known.map(told_ready).unwrap_or_default();
    let over_capacity = if is_cut { Value::from("truncated") } else { Value::Null };
    let annotations = json!({TRIGGER_TIME: trigger_time(&ready_since(targets), &told), OVER_CAPACITY: over_capacity});
    let Some(known) = known else {
        let annotations = annotations.as_object().into_iter().flatten();
        let annotations: BTreeMap<_, _> =
            annotations.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        let metadata = ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        };
        let subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
        return Some(Change::create(&Endpoints { metadata, subsets }));
    };
    let subsets = if subsets.is_empty() { Value::Null } else { json!(subsets) };
    let mut desired =
        json!({"metadata": {"labels": exactly(known.metadata.labels.as_ref(), &labels)}, "subsets": subsets});
    let before = serde_json::to_value(known).unwrap_or_default();
    if overlay(&before, &desired) == before {
        return None;
    }
    if let Some(metadata) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), annotations);
    }
    Some(Change::overlay_fields(known, desired))
}

/// The uids of the Pods that are told as ready.
fn told_ready(endpoints: &Endpoints) -> BTreeSet<&str> {
    let subsets = endpoints.subsets.iter().flatten();
    let addresses = subsets.flat_map(|subset| subset.addresses.iter().flatten());
    addresses.filter_map(|address| address.target_ref.as_ref()?.uid.as_deref()).collect()
}

/// Addresses by the ports that they have, ready ones apart, and whether there are more than told.
fn subsets(service: &Service, targets: &[Target]) -> (Vec<EndpointSubset>, bool) {
    let needs_ports = !service_ports(service).is_empty();
    let is_in = |target: &&Target| {
        (publishes_all(service) || !target.is_terminating) && !(needs_ports && target.ports.is_empty())
    };
    let mut told: Vec<&Target> = targets.iter().filter(is_in).collect();
    let is_cut = told.len() > MAX_ADDRESSES;
    told.sort_by_key(|target| (!target.is_ready, &target.ip, &target.reference.uid));
    told.truncate(MAX_ADDRESSES);
    let mut groups: Vec<(&[EndpointPort], Vec<&Target>)> = Vec::new();
    for target in told {
        match groups.iter_mut().find(|(ports, _)| *ports == target.ports) {
            Some((_, group)) => group.push(target),
            None => groups.push((&target.ports, vec![target])),
        }
    }
    groups.sort_by_key(|(ports, _)| ports.iter().map(|port| (port.port, port.name.clone())).collect::<Vec<_>>());
    (groups.into_iter().map(|(ports, group)| subset(ports, &group)).collect(), is_cut)
}

fn subset(ports: &[EndpointPort], targets: &[&Target]) -> EndpointSubset {
    let addresses = |is_ready: bool| {
        let those = targets.iter().filter(|target| target.is_ready == is_ready);
        let addresses: Vec<_> = those.map(|target| address(target)).collect();
        Some(addresses).filter(|addresses| !addresses.is_empty())
    };
    EndpointSubset {
        addresses: addresses(true),
        not_ready_addresses: addresses(false),
        ports: (!ports.is_empty()).then(|| ports.to_vec()),
    }
}

fn address(target: &Target) -> EndpointAddress {
    EndpointAddress {
        ip: target.ip.clone(),
        hostname: target.hostname.clone(),
        node_name: target.node.clone(),
        target_ref: Some(target.reference.clone()),
    }
}

/// What every slice of a Service has in common.
pub(super) fn slice_metadata(service: &Service) -> ObjectMeta {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), super::slices::BY_SELECTOR.to_owned());
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    ObjectMeta {
        generate_name: Some(crate::objects::names::generate(&name)),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![owners::controller_reference(service)]),
        ..ObjectMeta::default()
    }
}

/// The Pods by family and ports.
pub(super) fn slice_groups(targets: &[Target]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for target in targets {
        let address_type = if target.ip.contains(':') { "IPv6" } else { "IPv4" };
        let ports: Vec<_> = target.ports.iter().map(slice_port).collect();
        let endpoint = endpoint(target);
        match groups.iter_mut().find(|group| group.address_type == address_type && group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group { address_type, ports, endpoints: vec![endpoint] }),
        }
    }
    groups
}

pub(super) fn slice_port(port: &EndpointPort) -> discovery::EndpointPort {
    discovery::EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(target: &Target) -> discovery::Endpoint {
    discovery::Endpoint {
        addresses: vec![target.ip.clone()],
        conditions: Some(discovery::EndpointConditions {
            ready: Some(target.is_ready),
            serving: Some(target.is_serving),
            terminating: Some(target.is_terminating),
        }),
        hostname: target.hostname.clone(),
        node_name: target.node.clone(),
        target_ref: Some(target.reference.clone()),
        ..discovery::Endpoint::default()
    }
}
