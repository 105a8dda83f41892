//! Reading a Revision: its serving container, its sidecars, its protocol, its routing state.

use super::{Revision, RevisionSpec, RoutingState};
use crate::meta::{annotation, annotation_value, label, label_value};
use crate::networking::Protocol;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

/// Whether a container has a port.
pub(super) fn has_ports(container: &Container) -> bool {
    container.ports.as_ref().is_some_and(|ports| !ports.is_empty())
}

impl RevisionSpec {
    /// The container that serves requests: the only one, or the one with a port.
    pub fn serving_container(&self) -> Option<&Container> {
        match self.pod.containers.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|container| has_ports(container)),
        }
    }

    /// The containers beside the serving one.
    pub fn sidecars(&self) -> impl Iterator<Item = &Container> {
        let single = self.pod.containers.len() == 1;
        self.pod.containers.iter().filter(move |container| !single && !has_ports(container))
    }

    /// How many requests one Pod takes at a time; 0 means any number.
    pub fn concurrency_limit(&self) -> i64 {
        self.container_concurrency.unwrap_or_default()
    }
}

impl Revision {
    /// What its serving container speaks.
    pub fn protocol(&self) -> Protocol {
        let port = self.spec.serving_container().and_then(|c| c.ports.as_ref()?.first());
        match port.and_then(|port| port.name.as_deref()) {
            Some("h2c") => Protocol::H2c,
            _ => Protocol::Http1,
        }
    }

    /// Whether a Route leads to it.
    pub fn routing_state(&self) -> RoutingState {
        label_value(&self.metadata, label::ROUTING_STATE).map(RoutingState::from).unwrap_or_default()
    }

    /// When that changed, if it is known.
    pub fn routing_state_modified(&self) -> Option<Timestamp> {
        annotation_value(&self.metadata, annotation::ROUTING_STATE_MODIFIED)?.parse().ok()
    }

    /// Says whether a Route leads to it. The time is kept if nothing changes.
    pub fn set_routing_state(&mut self, state: &RoutingState, now: Timestamp) {
        let known = annotation_value(&self.metadata, annotation::ROUTING_STATE_MODIFIED).is_some_and(|t| !t.is_empty());
        if known && self.routing_state() == *state {
            return;
        }
        let labels = self.metadata.labels.get_or_insert_default();
        labels.insert(label::ROUTING_STATE.to_owned(), state.to_string());
        let annotations = self.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation::ROUTING_STATE_MODIFIED.to_owned(), routing_state_time(now));
    }
}

/// A time as the annotation holds it: RFC 3339, UTC, whole seconds.
pub(crate) fn routing_state_time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
