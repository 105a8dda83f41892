//! What a Service's sockets are, and what stands behind each: pure, from the Service and its slices.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base_controller::Key;
use cluster_sandbox::spec::Protocol;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use super::sockets::addresses;
use super::{Front, ServiceIpConfig};

/// How long a client stays with its endpoint, if the Service does not say: three hours.
const DEFAULT_AFFINITY: Duration = Duration::from_secs(10_800);

/// What stands behind a front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where to forward to, in the order of the slices.
    pub(super) endpoints: Vec<SocketAddr>,
    /// How long after its last connection a client stays with its endpoint; none for not at all.
    pub(super) affinity: Option<Duration>,
}

/// Every front of a Service.
pub(super) fn fronts(
    config: &ServiceIpConfig,
    service: &Service,
    slices: &[Arc<EndpointSlice>],
) -> BTreeMap<Front, Wanted> {
    let Some(spec) = &service.spec else { return BTreeMap::new() };
    if spec.type_.as_deref() == Some("ExternalName") || service.metadata.deletion_timestamp.is_some() {
        return BTreeMap::new();
    }
    let key = Key::of(service);
    let affinity = affinity(spec);
    let mut fronts = BTreeMap::new();
    for ip in cluster_ips(spec).into_iter().filter(|ip| !config.elsewhere.contains(ip)) {
        for port in spec.ports.iter().flatten() {
            let (Some(protocol), Ok(number)) = (protocol(port.protocol.as_deref()), u16::try_from(port.port)) else {
                continue;
            };
            let endpoints = match config.pinned.get(&(key.clone(), number)) {
                Some(address) => vec![*address],
                None => endpoints(port, ip, slices),
            };
            fronts.insert(Front { protocol, address: SocketAddr::new(ip, number) }, Wanted { endpoints, affinity });
        }
    }
    fronts
}

/// The addresses of a Service; none for a headless one.
pub(crate) fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed: Vec<IpAddr> = addresses(spec.cluster_ips.iter().flatten()).collect();
    if listed.is_empty() { addresses(&spec.cluster_ip).collect() } else { listed }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let configured = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds =
        configured.and_then(|client_ip| client_ip.timeout_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Some(seconds.map_or(DEFAULT_AFFINITY, Duration::from_secs))
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// The endpoints of one port: the ready ones, or else those that end but still serve.
fn endpoints(port: &ServicePort, front: IpAddr, slices: &[Arc<EndpointSlice>]) -> Vec<SocketAddr> {
    let of = |takes: fn(&EndpointConditions) -> bool| -> Vec<SocketAddr> {
        slices.iter().flat_map(|slice| slice_endpoints(slice, port, front, takes)).collect()
    };
    let ready = of(is_ready);
    if ready.is_empty() { of(is_last_resort) } else { ready }
}

fn slice_endpoints(
    slice: &EndpointSlice,
    port: &ServicePort,
    front: IpAddr,
    takes: fn(&EndpointConditions) -> bool,
) -> Vec<SocketAddr> {
    let is_same = |candidate: &&k8s_openapi::api::discovery::v1::EndpointPort| {
        candidate.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
            && protocol(candidate.protocol.as_deref()) == protocol(port.protocol.as_deref())
    };
    let number = slice.ports.iter().flatten().find(is_same).and_then(|found| found.port);
    let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else { return Vec::new() };
    let taken = slice.endpoints.iter().flatten().filter(|endpoint| takes(&conditions(endpoint)));
    let ips = taken.filter_map(|endpoint| endpoint.addresses.first()?.parse::<IpAddr>().ok());
    ips.filter(|ip| ip.is_ipv4() == front.is_ipv4()).map(|ip| SocketAddr::new(ip, number)).collect()
}

fn conditions(endpoint: &Endpoint) -> EndpointConditions {
    endpoint.conditions.clone().unwrap_or_default()
}

/// Whether an endpoint takes new clients; one that does not say does.
pub(crate) fn is_ready(conditions: &EndpointConditions) -> bool {
    conditions.ready.unwrap_or(true)
}

fn is_last_resort(conditions: &EndpointConditions) -> bool {
    conditions.serving == Some(true) && conditions.terminating == Some(true)
}
