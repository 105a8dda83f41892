//! The user's containers as they are deployed.
//!
//! Each gets Knative's environment, a `preStop` hook that waits until the sidecar has drained, and loses a readiness probe that the sidecar
//! runs instead. The serving container also gets `PORT` and its one port by the name of `user-port`.

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::config::Features;
use knative_apis::meta::{label, label_value, port};
use knative_apis::serving::v1::Revision;
use kube::ResourceExt;

/// Where the sidecar's administration port blocks until requests in flight are done.
const DRAIN_PATH: &str = "/wait-for-drain";
const FALLBACK_TO_LOGS: &str = "FallbackToLogsOnError";

/// The port that the serving container listens on.
pub(crate) fn user_port(revision: &Revision) -> i32 {
    let ports = revision.spec.serving_container().and_then(|container| container.ports.as_deref()).unwrap_or_default();
    ports.first().map(|port| port.container_port).filter(|port| *port != 0).unwrap_or(port::DEFAULT_USER)
}

/// The containers of the Pod but the sidecar, in the Revision's order, by digest where that is known.
pub(super) fn make_user_containers(revision: &Revision, features: &Features) -> Vec<Container> {
    let containers = &revision.spec.pod.containers;
    let digests = revision.status.container_statuses.iter().map(|status| status.image_digest.as_str());
    let digests = digests.chain(std::iter::repeat(""));
    let is_serving = |container: &Container| {
        containers.len() == 1 || container.ports.as_ref().is_some_and(|ports| !ports.is_empty())
    };
    let made = containers.iter().zip(digests).map(|(container, digest)| {
        let mut made = container.clone();
        if is_serving(container) {
            serve(&mut made, revision, features.multi_container_probing.is_enabled());
        }
        adapt(&mut made, revision);
        if !digest.is_empty() {
            made.image = Some(digest.to_owned());
        }
        made
    });
    made.collect()
}

/// The init containers, by digest where that is known.
pub(super) fn make_init_containers(revision: &Revision) -> Option<Vec<Container>> {
    let mut containers = revision.spec.pod.init_containers.clone()?;
    for (container, status) in containers.iter_mut().zip(&revision.status.init_container_statuses) {
        if !status.image_digest.is_empty() {
            container.image = Some(status.image_digest.clone());
        }
    }
    Some(containers)
}

/// What only the serving container gets.
fn serve(container: &mut Container, revision: &Revision, keeps_own_port: bool) {
    let user_port = user_port(revision);
    container.ports = Some(vec![ContainerPort {
        name: Some(port::USER_PORT_NAME.to_owned()),
        container_port: user_port,
        ..ContainerPort::default()
    }]);
    container.env.get_or_insert_default().push(variable("PORT", user_port.to_string()));
    if let Some(probe) = &mut container.liveness_probe {
        aim(probe, user_port, keeps_own_port);
    }
}

/// A liveness probe asks the user's port, whatever it says, unless custom ports are allowed.
fn aim(probe: &mut Probe, user_port: i32, keeps_own_port: bool) {
    let ports = [
        probe.http_get.as_mut().map(|action| &mut action.port),
        probe.tcp_socket.as_mut().map(|action| &mut action.port),
    ];
    for port in ports.into_iter().flatten() {
        if !keeps_own_port || number(port) == 0 {
            *port = IntOrString::Int(user_port);
        }
    }
}

/// A port's number; 0 if it is a name, as in Go's `IntValue` of one that is no number.
pub(super) fn number(port: &IntOrString) -> i32 {
    match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => text.parse().unwrap_or_default(),
    }
}

/// What every container gets.
fn adapt(container: &mut Container, revision: &Revision) {
    container.lifecycle = Some(Lifecycle { pre_stop: Some(wait_for_drain()), ..Lifecycle::default() });
    let labelled = |key| label_value(&revision.metadata, key).unwrap_or_default().to_owned();
    container.env.get_or_insert_default().extend([
        variable("K_REVISION", revision.name_any()),
        variable("K_CONFIGURATION", labelled(label::CONFIGURATION)),
        variable("K_SERVICE", labelled(label::SERVICE)),
    ]);
    container.stdin = None;
    container.tty = None;
    container.termination_message_policy.get_or_insert_with(|| FALLBACK_TO_LOGS.to_owned());
    if container.readiness_probe.as_ref().is_some_and(is_run_by_sidecar) {
        container.readiness_probe = None;
    }
}

fn is_run_by_sidecar(probe: &Probe) -> bool {
    probe.http_get.is_some() || probe.tcp_socket.is_some() || probe.grpc.is_some()
}

fn wait_for_drain() -> LifecycleHandler {
    let action = HTTPGetAction {
        port: IntOrString::Int(port::QUEUE_ADMIN),
        path: Some(DRAIN_PATH.to_owned()),
        ..HTTPGetAction::default()
    };
    LifecycleHandler { http_get: Some(action), ..LifecycleHandler::default() }
}

pub(super) fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}
