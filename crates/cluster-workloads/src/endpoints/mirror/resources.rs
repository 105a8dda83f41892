//! Endpoints as slices.

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpoints::resources::{MAX_ADDRESSES, TRIGGER_TIME, slice_port};
use crate::endpoints::slices::{BY_MIRRORING, Group, MANAGED_BY, SERVICE_NAME};
use crate::objects::{names, owners};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What every copy has in common.
pub(super) fn slice_metadata(endpoints: &Endpoints) -> ObjectMeta {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), BY_MIRRORING.to_owned());
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| name != LAST_APPLIED && name != TRIGGER_TIME);
    ObjectMeta {
        generate_name: Some(names::generate(&name)),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![owners::controller_reference(endpoints)]),
        ..ObjectMeta::default()
    }
}

/// The addresses by family and ports, at most [`MAX_ADDRESSES`] of each subset, ready ones first.
pub(super) fn slice_groups(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(slice_port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, is_ready) in ready.chain(unready).take(MAX_ADDRESSES) {
            let address_type = if address.ip.contains(':') { "IPv6" } else { "IPv4" };
            let endpoint = endpoint(address, is_ready);
            match groups.iter_mut().find(|group| group.address_type == address_type && group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group { address_type, ports: ports.clone(), endpoints: vec![endpoint] }),
            }
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(is_ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
