//! The objects that stand beside the controllers: namespace, accounts, roles, ConfigMaps and the Services of Knative's names.
//!
//! They are data: the binary applies them (embedded) or prints them (`kwick manifests`). Custom resource definitions are
//! `knative_apis::crds`. ConfigMaps are only made where there is none: what an operator wrote stays.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::config::defaults_to_install;
use knative_apis::meta::ACTIVATOR_SERVICE;

use crate::rbac::{aggregated_roles, identities};

const NAME_LABEL: &str = "app.kubernetes.io/name";
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const PART_OF: &str = "knative-serving";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// What the installer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The namespace of Knative's own objects.
    pub system_namespace: String,
    /// The image of queue-proxy.
    pub queue_image: String,
    /// The domain that Routes end in; empty: everything stays inside the cluster.
    pub domain: String,
    /// The class of Ingresses that are served.
    pub ingress_class: String,
}

/// Everything to be installed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The system namespace.
    pub namespaces: Vec<Namespace>,
    /// The accounts that the parts act as.
    pub service_accounts: Vec<ServiceAccount>,
    /// What they, and people, may do.
    pub cluster_roles: Vec<ClusterRole>,
    /// Who may do it.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// ConfigMaps, each only where there is none.
    pub config_maps: Vec<ConfigMap>,
    /// The Services that the parts are reached by.
    pub services: Vec<Service>,
}

/// The objects of an installation.
pub fn manifests(installation: &Installation) -> Manifests {
    let namespace = installation.system_namespace.as_str();
    Manifests {
        namespaces: vec![Namespace {
            metadata: ObjectMeta { labels: Some(labels(None)), ..named(namespace) },
            ..Namespace::default()
        }],
        service_accounts: identities()
            .iter()
            .map(|identity| make_account(identity.service_account, namespace))
            .collect(),
        cluster_roles: make_roles(),
        cluster_role_bindings: make_bindings(namespace),
        config_maps: make_config_maps(installation),
        services: make_services(namespace),
    }
}

fn make_account(name: &str, namespace: &str) -> ServiceAccount {
    ServiceAccount { metadata: of_component(name, name, namespace), ..ServiceAccount::default() }
}

fn make_roles() -> Vec<ClusterRole> {
    let of_parts = identities().into_iter().map(|identity| (identity.cluster_role, None, identity.rules));
    let of_people = aggregated_roles().into_iter().map(|role| (role.name, Some(role.aggregation_label), role.rules));
    let make = |(name, aggregation_label, rules): (&str, Option<&str>, _)| {
        let mut labels = labels(None);
        labels.extend(aggregation_label.map(|label| (label.to_owned(), "true".to_owned())));
        let metadata = ObjectMeta { labels: Some(labels), ..named(name) };
        ClusterRole { metadata, rules: Some(rules), aggregation_rule: None }
    };
    of_parts.chain(of_people).map(make).collect()
}

fn make_bindings(namespace: &str) -> Vec<ClusterRoleBinding> {
    let make = |identity: crate::rbac::Identity| ClusterRoleBinding {
        metadata: ObjectMeta {
            labels: Some(labels(Some(identity.service_account))),
            ..named(&format!("knative-serving-{}", identity.service_account))
        },
        role_ref: RoleRef {
            api_group: Some(RBAC_GROUP.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: identity.cluster_role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: identity.service_account.to_owned(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]),
    };
    identities().into_iter().map(make).collect()
}

fn make_config_maps(installation: &Installation) -> Vec<ConfigMap> {
    let Installation { system_namespace, queue_image, domain, ingress_class } = installation;
    let maps = defaults_to_install(queue_image, domain, ingress_class).into_iter();
    maps.map(|map| {
        let labels = Some(map.labels());
        let metadata = ObjectMeta { labels, namespace: Some(system_namespace.clone()), ..named(map.name) };
        ConfigMap { metadata, data: Some(map.data), ..ConfigMap::default() }
    })
    .collect()
}

/// A port of a Service: its name, its number, and that of the Pod.
type Port = (&'static str, i32, i32);

/// The parts that are reached by a Service: its name, the component, and its ports.
const SERVICES: [(&str, &str, &[Port]); 4] = [
    (ACTIVATOR_SERVICE, "activator", &[("http", 80, 8012), ("http2", 81, 8013), ("https", 443, 8112)]),
    ("autoscaler", "autoscaler", &[("http", 8080, 8080)]),
    ("controller", "controller", &[]),
    ("webhook", "webhook", &[("https-webhook", 443, 8443)]),
];
/// Ports that every part has.
const COMMON_PORTS: [Port; 2] = [("http-metrics", 9090, 9090), ("http-profiling", 8008, 8008)];

fn make_services(namespace: &str) -> Vec<Service> {
    let make = |(name, component, ports): (&str, &str, &[Port])| {
        let ports = COMMON_PORTS.iter().chain(ports).map(|(name, port, target)| ServicePort {
            name: Some((*name).to_owned()),
            port: *port,
            target_port: Some(IntOrString::Int(*target)),
            ..ServicePort::default()
        });
        let spec = ServiceSpec {
            selector: Some(BTreeMap::from([("app".to_owned(), component.to_owned())])),
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        };
        let mut metadata = of_component(name, component, namespace);
        metadata.labels.get_or_insert_default().insert("app".to_owned(), component.to_owned());
        Service { metadata, spec: Some(spec), status: None }
    };
    SERVICES.into_iter().map(make).collect()
}

fn of_component(name: &str, component: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta { labels: Some(labels(Some(component))), namespace: Some(namespace.to_owned()), ..named(name) }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn labels(component: Option<&str>) -> BTreeMap<String, String> {
    let name = (NAME_LABEL.to_owned(), PART_OF.to_owned());
    let component = component.map(|component| (COMPONENT_LABEL.to_owned(), component.to_owned()));
    std::iter::once(name).chain(component).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_have_knatives_names_and_ports() {
        let installation = Installation {
            system_namespace: "knative-serving".to_owned(),
            queue_image: "queue".to_owned(),
            domain: "localhost".to_owned(),
            ingress_class: "kwick".to_owned(),
        };
        let made = manifests(&installation);
        let names: Vec<_> = made.services.iter().filter_map(|service| service.metadata.name.as_deref()).collect();
        assert_eq!(names, ["activator-service", "autoscaler", "controller", "webhook"]);
        let activator = made.services[0].spec.as_ref().unwrap();
        let ports: Vec<_> = activator.ports.iter().flatten().map(|port| port.port).collect();
        assert_eq!(ports, [9090, 8008, 80, 81, 443]);
        let domain = made.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some("config-domain")).unwrap();
        assert!(domain.data.as_ref().unwrap().contains_key("localhost"));
        assert_eq!(made.service_accounts.len(), made.cluster_role_bindings.len());
    }
}
