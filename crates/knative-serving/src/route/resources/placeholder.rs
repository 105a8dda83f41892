//! The placeholder Services of a Route: names inside the cluster that lead to the gateway.
//!
//! A placeholder takes its name as soon as the Route is there, so that nobody else does; it leads to the Route's own host until the Ingress
//! says where the load balancer is.

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service as CoreService, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::meta::{annotations, label, label_value, labels, owner, port};
use knative_apis::networking::{Ingress, LoadBalancerIngressStatus, LoadBalancerStatus};
use knative_apis::serving::v1::Route;
use kube::ResourceExt;

const HEADLESS: &str = "None";
const CLUSTER_IP: &str = "ClusterIP";
const EXTERNAL_NAME: &str = "ExternalName";

/// Where a placeholder leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::route) enum Alias {
    /// To another name.
    Name(String),
    /// To an address.
    Address(String),
    /// To wherever a service mesh takes it.
    Mesh,
}

/// A placeholder Service, and its Endpoints if it leads to an address.
#[derive(Clone, Debug)]
pub(in crate::route) struct Placeholder {
    pub(in crate::route) service: CoreService,
    pub(in crate::route) endpoints: Option<Endpoints>,
}

/// Where the load balancer of an Ingress is, for a placeholder that is private or not; none if that is not known, or not one place.
///
/// The private load balancer comes first: who calls from inside stays inside.
pub(in crate::route) fn alias(ingress: &Ingress, existing: Option<&CoreService>) -> Option<Alias> {
    let is_private =
        existing.is_some_and(|service| label_value(&service.metadata, label::VISIBILITY) == Some(label::CLUSTER_LOCAL));
    let private = ingress.status.private_load_balancer.as_ref();
    let is_usable = |balancer: &&LoadBalancerStatus| !balancer.ingress.is_empty();
    let balancer = match private.filter(is_usable) {
        Some(private) => Some(private),
        None if is_private => None,
        None => ingress.status.public_load_balancer.as_ref(),
    };
    let [LoadBalancerIngressStatus { ip, domain, domain_internal, mesh_only }] = balancer?.ingress.as_slice() else {
        return None;
    };
    if !ip.is_empty() {
        Some(Alias::Address(ip.clone()))
    } else if !domain_internal.is_empty() {
        Some(Alias::Name(domain_internal.clone()))
    } else if !domain.is_empty() {
        Some(Alias::Name(domain.clone()))
    } else {
        mesh_only.then_some(Alias::Mesh)
    }
}

/// The placeholder `name` of `route`.
pub(in crate::route) fn make_placeholder(route: &Route, name: &str, alias: &Alias) -> Placeholder {
    let metadata = make_metadata(route, name);
    let spec = match alias {
        Alias::Name(target) => ServiceSpec {
            type_: Some(EXTERNAL_NAME.to_owned()),
            external_name: Some(target.clone()),
            session_affinity: Some("None".to_owned()),
            ports: Some(vec![make_port()]),
            ..ServiceSpec::default()
        },
        Alias::Address(_) => ServiceSpec {
            type_: Some(CLUSTER_IP.to_owned()),
            cluster_ip: Some(HEADLESS.to_owned()),
            ports: Some(vec![make_port()]),
            ..ServiceSpec::default()
        },
        Alias::Mesh => ServiceSpec {
            type_: Some(CLUSTER_IP.to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(port::SERVICE_HTTP_NAME.to_owned()),
                port: port::SERVICE_HTTP,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        },
    };
    let endpoints = match alias {
        Alias::Address(ip) => Some(Endpoints { metadata: metadata.clone(), subsets: Some(vec![make_subset(ip)]) }),
        Alias::Name(_) | Alias::Mesh => None,
    };
    Placeholder { service: CoreService { metadata, spec: Some(spec), status: None }, endpoints }
}

/// How a Service becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::route) enum Transition {
    Update,
    /// Its address cannot change, so it is deleted first.
    Recreate,
}

/// How `existing` becomes `desired`: addresses never change, and a Service with an address never becomes a name.
pub(in crate::route) fn transition(existing: &CoreService, desired: &CoreService) -> Transition {
    let type_of = |service: &CoreService| {
        let spec = service.spec.as_ref();
        spec.and_then(|spec| spec.type_.clone()).unwrap_or_else(|| CLUSTER_IP.to_owned())
    };
    let address = |service: &CoreService| {
        service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).filter(|address| !address.is_empty())
    };
    let (from, to) = (type_of(existing), type_of(desired));
    let can_update = match (from.as_str(), to.as_str()) {
        (EXTERNAL_NAME, _) => true,
        (_, EXTERNAL_NAME) => false,
        _ => match (address(existing).as_deref(), address(desired).as_deref()) {
            (from, to) if from == to => true,
            (Some(from), None) => from != HEADLESS,
            _ => false,
        },
    };
    if can_update { Transition::Update } else { Transition::Recreate }
}

fn make_port() -> ServicePort {
    ServicePort {
        name: Some(port::SERVICE_HTTP2_NAME.to_owned()),
        app_protocol: Some(port::APP_PROTOCOL_H2C.to_owned()),
        port: port::SERVICE_HTTP,
        target_port: Some(IntOrString::Int(port::SERVICE_HTTP)),
        ..ServicePort::default()
    }
}

fn make_subset(ip: &str) -> EndpointSubset {
    let port = EndpointPort {
        name: Some(port::SERVICE_HTTP2_NAME.to_owned()),
        app_protocol: Some(port::APP_PROTOCOL_H2C.to_owned()),
        port: port::SERVICE_HTTP,
        protocol: Some("TCP".to_owned()),
    };
    let address = EndpointAddress { ip: ip.to_owned(), ..EndpointAddress::default() };
    EndpointSubset { addresses: Some(vec![address]), not_ready_addresses: None, ports: Some(vec![port]) }
}

/// A placeholder carries what the Route does, but its visibility: users set that on placeholders of single tags.
fn make_metadata(route: &Route, name: &str) -> ObjectMeta {
    let own = labels(&route.metadata).iter().filter(|(key, _)| key.as_str() != label::VISIBILITY);
    let mut labels: std::collections::BTreeMap<_, _> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert(label::ROUTE.to_owned(), route.name_any());
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: route.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations(&route.metadata).clone()).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![owner::controller_ref(route)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ingress(status: serde_json::Value) -> Ingress {
        serde_json::from_value(json!({ "status": status })).unwrap()
    }

    #[test]
    fn calls_from_inside_stay_inside_if_they_can() {
        let private = json!({"ingress": [{"domainInternal": "inside"}]});
        let public = json!({"ingress": [{"ip": "1.2.3.4", "domain": "outside"}]});
        let both = ingress(json!({"privateLoadBalancer": private, "publicLoadBalancer": public}));
        assert_eq!(alias(&both, None), Some(Alias::Name("inside".into())));
        let only_public = ingress(json!({"publicLoadBalancer": public}));
        assert_eq!(alias(&only_public, None), Some(Alias::Address("1.2.3.4".into())));
        let local: CoreService = serde_json::from_value(
            json!({"metadata": {"labels": {"networking.knative.dev/visibility": "cluster-local"}}}),
        )
        .unwrap();
        assert_eq!(alias(&only_public, Some(&local)), None);
        let two = ingress(json!({"publicLoadBalancer": {"ingress": [{"ip": "1"}, {"ip": "2"}]}}));
        assert_eq!((alias(&two, None), alias(&ingress(json!({})), None)), (None, None));
        let mesh = ingress(json!({"privateLoadBalancer": {"ingress": [{"meshOnly": true}]}}));
        assert_eq!(alias(&mesh, None), Some(Alias::Mesh));
    }

    #[test]
    fn addresses_do_not_change() {
        let service = |spec: serde_json::Value| serde_json::from_value::<CoreService>(json!({ "spec": spec })).unwrap();
        let name = service(json!({"type": "ExternalName", "externalName": "a"}));
        let headless = service(json!({"type": "ClusterIP", "clusterIP": "None"}));
        let addressed = service(json!({"clusterIP": "10.0.0.1"}));
        let unset = service(json!({"type": "ClusterIP"}));
        for (from, to, expected) in [
            (&name, &name, Transition::Update),
            (&name, &headless, Transition::Update),
            (&headless, &headless, Transition::Update),
            (&headless, &name, Transition::Recreate),
            (&addressed, &unset, Transition::Update),
            (&headless, &unset, Transition::Recreate),
            (&addressed, &headless, Transition::Recreate),
        ] {
            assert_eq!(transition(from, to), expected, "{:?} {:?}", from.spec, to.spec);
        }
    }
}
