//! How the sidecar learns whether the user's containers are ready.
//!
//! The sidecar runs the user's readiness probes itself (aggressively, if they have no period), told by `SERVING_READINESS_PROBE`; the node
//! asks the sidecar, with the numbers of the user's probe.

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::meta::header;
use knative_apis::serving::v1::Revision;

use super::containers::{number, user_port};

const LOCALHOST: &str = "127.0.0.1";
/// [`header::PROBE`] as Knative spells it.
const PROBE_HEADER: &str = "K-Network-Probe";

/// The node's readiness probe of the sidecar; none if the user's container has none.
pub(super) fn make_queue_probe(revision: &Revision, serving_port: i32) -> Option<Probe> {
    let users = revision.spec.serving_container()?.readiness_probe.clone()?;
    let asks_queue = HTTPHeader { name: PROBE_HEADER.to_owned(), value: header::PROBE_QUEUE.to_owned() };
    let action = HTTPGetAction {
        port: IntOrString::Int(serving_port),
        http_headers: Some(vec![asks_queue]),
        ..HTTPGetAction::default()
    };
    Some(Probe { http_get: Some(action), exec: None, grpc: None, tcp_socket: None, ..users })
}

/// The value of `SERVING_READINESS_PROBE`: one probe, or with multi-container probing a list; empty if there is none.
pub(super) fn encode_user_probes(revision: &Revision, is_multi_container: bool) -> String {
    let serving = revision.spec.serving_container();
    let own = serving.and_then(|container| local_probe(container, user_port(revision)));
    if !is_multi_container {
        return own.map(|probe| encode(&probe)).unwrap_or_default();
    }
    let of_sidecars = revision.spec.sidecars().filter_map(sidecar_probe);
    encode(&own.into_iter().chain(of_sidecars).collect::<Vec<_>>())
}

fn encode(probe: &impl serde::Serialize) -> String {
    serde_json::to_string(probe).unwrap_or_default()
}

/// The readiness probe of a container, as the sidecar runs it.
fn local_probe(container: &Container, default_port: i32) -> Option<Probe> {
    let probe = container.readiness_probe.clone()?;
    let port = Some(own_port(&probe)).filter(|port| *port != 0).unwrap_or(default_port);
    Some(localize(probe, port))
}

/// A side-car's probe. One that runs a command stays with the node, and one without a port was refused at admission.
fn sidecar_probe(container: &Container) -> Option<Probe> {
    let probe = container.readiness_probe.clone().filter(|probe| probe.exec.is_none())?;
    let port = Some(own_port(&probe)).filter(|port| *port != 0)?;
    Some(localize(probe, port))
}

fn own_port(probe: &Probe) -> i32 {
    let http = probe.http_get.as_ref().map(|action| number(&action.port));
    let tcp = probe.tcp_socket.as_ref().map(|action| number(&action.port));
    let grpc = probe.grpc.as_ref().map(|action| action.port);
    http.or(tcp).or(grpc).unwrap_or_default()
}

fn localize(mut probe: Probe, port: i32) -> Probe {
    if let Some(action) = &mut probe.http_get {
        action.host = Some(LOCALHOST.to_owned());
        action.port = IntOrString::Int(port);
        if action.scheme.as_deref().unwrap_or_default().is_empty() {
            action.scheme = Some("HTTP".to_owned());
        }
    } else if probe.tcp_socket.is_some() || probe.exec.is_some() {
        // A command is run by the node in the user's container; the sidecar asks its port.
        probe.exec = None;
        probe.tcp_socket = Some(TCPSocketAction { host: Some(LOCALHOST.to_owned()), port: IntOrString::Int(port) });
    } else if let Some(action) = &mut probe.grpc {
        action.port = port;
    }
    let has_period = probe.period_seconds.unwrap_or_default() > 0;
    if has_period && probe.timeout_seconds.unwrap_or_default() < 1 {
        probe.timeout_seconds = Some(1);
    }
    probe
}
