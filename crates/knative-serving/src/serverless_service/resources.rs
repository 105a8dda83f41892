//! The Services and Endpoints of a ServerlessService.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::meta::{label, owner, port};
use knative_apis::networking::{Protocol, ServerlessService};
use knative_logic::{names, subset};
use kube::ResourceExt;

const TCP: &str = "TCP";

/// The Service that selects the Pods: the request path, statistics and metrics.
pub(super) fn make_private_service(sks: &ServerlessService, selector: &BTreeMap<String, String>) -> Service {
    let protocol = &sks.spec.protocol_type;
    let name = port::service_port_name(protocol);
    let serving = ServicePort {
        app_protocol: port::app_protocol(protocol).map(str::to_owned),
        ..make_port(name, port::SERVICE_HTTP, IntOrString::Int(target_port(protocol)))
    };
    let by_name = |name: &str, number| make_port(name, number, IntOrString::String(name.to_owned()));
    let ports = vec![
        serving,
        make_https_port(),
        by_name(port::QUEUE_AUTOSCALING_METRICS_NAME, port::QUEUE_AUTOSCALING_METRICS),
        by_name(port::QUEUE_USER_METRICS_NAME, port::QUEUE_USER_METRICS),
        // Tells Istio, where Pods can be addressed through the mesh, to open the listener on the Pod.
        make_port(&format!("{name}-istio"), target_port(protocol), IntOrString::Int(target_port(protocol))),
    ];
    let spec = ServiceSpec { ports: Some(ports), selector: Some(selector.clone()), ..ServiceSpec::default() };
    let metadata = make_metadata(sks, names::private_service(&sks.name_any()), label::SERVICE_TYPE_PRIVATE);
    Service { metadata, spec: Some(spec), status: None }
}

/// The Service that clients use; it selects nothing.
pub(super) fn make_public_service(sks: &ServerlessService) -> Service {
    let protocol = &sks.spec.protocol_type;
    let target = IntOrString::Int(target_port(protocol));
    let serving = ServicePort {
        app_protocol: port::app_protocol(protocol).map(str::to_owned),
        ..make_port(port::service_port_name(protocol), port::service_port(protocol), target)
    };
    let spec = ServiceSpec { ports: Some(vec![serving, make_https_port()]), ..ServiceSpec::default() };
    let metadata = make_metadata(sks, sks.name_any(), label::SERVICE_TYPE_PUBLIC);
    Service { metadata, spec: Some(spec), status: None }
}

/// Where the public Service leads, for the Endpoints of its name.
pub(super) fn make_public_endpoints(sks: &ServerlessService, subsets: Vec<EndpointSubset>) -> Endpoints {
    let metadata = make_metadata(sks, sks.name_any(), label::SERVICE_TYPE_PUBLIC);
    Endpoints { metadata, subsets: Some(subsets) }
}

/// `subsets` with the ports that serve requests only.
pub(super) fn with_serving_ports(sks: &ServerlessService, subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let target = target_port(&sks.spec.protocol_type);
    let filtered = subsets.iter().cloned().map(|mut subset| {
        subset.ports.iter_mut().for_each(|ports| ports.retain(|p| p.port == target || p.port == port::BACKEND_HTTPS));
        subset
    });
    filtered.collect()
}

/// `subsets` with at most `count` of their ready addresses (0: all), always the same ones for the same revision.
pub(super) fn choose(subsets: &[EndpointSubset], revision: &str, count: usize) -> Vec<EndpointSubset> {
    let ready = subsets.iter().flat_map(|subset| subset.addresses.iter().flatten());
    let all: BTreeSet<&str> = ready.map(|address| address.ip.as_str()).collect();
    if count == 0 || all.len() <= count {
        return subsets.to_vec();
    }
    let chosen = subset::choose(&all, count, revision);
    let chosen = subsets.iter().cloned().filter_map(|mut subset| {
        let addresses: &mut Vec<EndpointAddress> = subset.addresses.as_mut()?;
        addresses.retain(|address| chosen.contains(address.ip.as_str()));
        (!addresses.is_empty()).then_some(subset)
    });
    chosen.collect()
}

/// How many ready addresses there are.
pub(super) fn ready_count(endpoints: Option<&Endpoints>) -> usize {
    let subsets = endpoints.into_iter().flat_map(|endpoints| endpoints.subsets.iter().flatten());
    subsets.map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum()
}

/// The port of queue-proxy, and of the activator, that speaks `protocol`.
fn target_port(protocol: &Protocol) -> i32 {
    match protocol {
        Protocol::H2c => port::BACKEND_HTTP2,
        _ => port::BACKEND_HTTP,
    }
}

fn make_https_port() -> ServicePort {
    make_port(port::SERVICE_HTTPS_NAME, port::SERVICE_HTTPS, IntOrString::Int(port::BACKEND_HTTPS))
}

fn make_port(name: &str, number: i32, target: IntOrString) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        protocol: Some(TCP.to_owned()),
        port: number,
        target_port: Some(target),
        ..ServicePort::default()
    }
}

fn make_metadata(sks: &ServerlessService, name: String, service_type: &str) -> ObjectMeta {
    let mut labels = sks.metadata.labels.clone().unwrap_or_default();
    labels.insert(label::SERVERLESS_SERVICE.to_owned(), sks.name_any());
    labels.insert(label::SERVICE_TYPE.to_owned(), service_type.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: sks.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: sks.metadata.annotations.clone(),
        owner_references: Some(vec![owner::controller_ref(sks)]),
        ..ObjectMeta::default()
    }
}
