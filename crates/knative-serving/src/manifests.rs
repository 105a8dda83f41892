//! The objects that stand beside the controllers: namespaces, accounts, roles, ConfigMaps, and the parts' Deployments and Services.
//!
//! | part | Deployment | Services that lead to it |
//! |---|---|---|
//! | controllers, autoscaler, admission | `controller` | `controller`, `autoscaler`, `webhook` |
//! | activator | `activator` | `activator-service` |
//! | gateway | `gateway`, in a namespace of its own | `gateway`, for public hosts; `gateway-internal`, also for hosts of the cluster |
//!
//! They are data: the binary applies them (embedded) or prints them (`kwick manifests`). Custom resource definitions are
//! `knative_apis::crds`. ConfigMaps are only made where there is none: what an operator wrote stays.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMap, Container, ContainerPort, HTTPGetAction, Namespace, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SecurityContext, Service, ServiceAccount, ServicePort, ServiceSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::config::defaults_to_install;
use knative_apis::meta::{ACTIVATOR_SERVICE, port};

use crate::rbac::{aggregated_roles, identities};

const NAME_LABEL: &str = "app.kubernetes.io/name";
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const PART_OF: &str = "knative-serving";
/// The label by which Services and people find a part's Pods.
const APP_LABEL: &str = "app";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// What the installer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The namespace of Knative's own objects.
    pub system_namespace: String,
    /// The namespace of the gateway.
    pub gateway_namespace: String,
    /// The image of every part: the program, with the part's name as its first argument. queue-proxy is one of them.
    pub image: String,
    /// The domain that Routes end in; empty: everything stays inside the cluster.
    pub domain: String,
    /// The class of Ingresses that are served.
    pub ingress_class: String,
}

/// Everything to be installed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The system namespace and the gateway's.
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
    /// The parts.
    pub deployments: Vec<Deployment>,
}

/// The objects of an installation.
pub fn manifests(installation: &Installation) -> Manifests {
    let accounts = identities().into_iter().map(|identity| identity.service_account);
    Manifests {
        namespaces: make_namespaces(installation),
        service_accounts: accounts.map(|name| make_account(name, installation.namespace_of(name))).collect(),
        cluster_roles: make_roles(),
        cluster_role_bindings: make_bindings(installation),
        config_maps: make_config_maps(installation),
        services: SERVICES.iter().map(|service| make_service(service, installation)).collect(),
        deployments: PARTS.iter().map(|part| make_deployment(part, installation)).collect(),
    }
}

impl Installation {
    /// Where a part lives.
    fn namespace_of(&self, part: &str) -> &str {
        if part == GATEWAY { &self.gateway_namespace } else { &self.system_namespace }
    }
}

fn make_namespaces(installation: &Installation) -> Vec<Namespace> {
    let make = |name: &String| Namespace {
        metadata: ObjectMeta { labels: Some(labels(None)), ..named(name) },
        ..Namespace::default()
    };
    [&installation.system_namespace, &installation.gateway_namespace].map(make).into()
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

fn make_bindings(installation: &Installation) -> Vec<ClusterRoleBinding> {
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
            namespace: Some(installation.namespace_of(identity.service_account).to_owned()),
            api_group: None,
        }]),
    };
    identities().into_iter().map(make).collect()
}

fn make_config_maps(installation: &Installation) -> Vec<ConfigMap> {
    let Installation { system_namespace, image, domain, ingress_class, .. } = installation;
    let maps = defaults_to_install(image, domain, ingress_class).into_iter();
    maps.map(|map| {
        let labels = Some(map.labels());
        let metadata = ObjectMeta { labels, namespace: Some(system_namespace.clone()), ..named(map.name) };
        ConfigMap { metadata, data: Some(map.data), ..ConfigMap::default() }
    })
    .collect()
}

/// The part that runs the controllers.
pub const CONTROLLER: &str = "controller";
/// The part where requests wait for a Pod.
pub const ACTIVATOR: &str = "activator";
/// The part at the door.
pub const GATEWAY: &str = "gateway";
/// The Service by which the gateway is reached for hosts of the cluster.
pub const GATEWAY_SERVICE: &str = "gateway-internal";
/// The port of the gateway for hosts of the cluster.
pub const GATEWAY_PORT: u16 = 8081;
/// The port of the gateway for hosts that everybody may reach.
pub const GATEWAY_PUBLIC_PORT: u16 = 8080;
/// The port of every part for its health and its metrics.
pub const METRICS_PORT: u16 = 9090;

/// A part that runs as a Deployment.
struct Part {
    /// Its name, its account's, and its word on the command line.
    name: &'static str,
    /// Its ports, by name, beside that for metrics.
    ports: &'static [(&'static str, i32)],
}

const PARTS: [Part; 3] = [
    Part { name: CONTROLLER, ports: &[] },
    Part {
        name: ACTIVATOR,
        ports: &[("http1", port::BACKEND_HTTP), ("h2c", port::BACKEND_HTTP2), ("https", port::BACKEND_HTTPS)],
    },
    Part { name: GATEWAY, ports: &[("http2", GATEWAY_PUBLIC_PORT as i32), ("http2-internal", GATEWAY_PORT as i32)] },
];

/// A port of a Service: its name, its number, and that of the Pod.
type Port = (&'static str, i32, i32);

/// A Service: its name, the part that it leads to, what it is labelled as, and its ports.
type Named = (&'static str, &'static str, &'static str, &'static [Port]);

const METRICS: Port = ("http-metrics", 9090, METRICS_PORT as i32);
const PROFILING: Port = ("http-profiling", 8008, 8008);
const SERVICES: [Named; 6] = [
    (
        ACTIVATOR_SERVICE,
        ACTIVATOR,
        ACTIVATOR,
        &[METRICS, PROFILING, ("http", 80, 8012), ("http2", 81, 8013), ("https", 443, 8112)],
    ),
    ("autoscaler", CONTROLLER, "autoscaler", &[METRICS, PROFILING, ("http", 8080, 8080)]),
    ("controller", CONTROLLER, CONTROLLER, &[METRICS, PROFILING]),
    ("webhook", CONTROLLER, "webhook", &[METRICS, PROFILING, ("https-webhook", 443, 8443)]),
    (
        GATEWAY,
        GATEWAY,
        GATEWAY,
        &[("http2", 80, GATEWAY_PUBLIC_PORT as i32), ("https", 443, GATEWAY_PUBLIC_PORT as i32)],
    ),
    (GATEWAY_SERVICE, GATEWAY, GATEWAY, &[("http2", 80, GATEWAY_PORT as i32), ("https", 443, GATEWAY_PORT as i32)]),
];

fn make_service((name, part, component, ports): &Named, installation: &Installation) -> Service {
    let ports = ports.iter().map(|(name, port, target)| ServicePort {
        name: Some((*name).to_owned()),
        port: *port,
        target_port: Some(IntOrString::Int(*target)),
        ..ServicePort::default()
    });
    let spec = ServiceSpec {
        selector: Some(BTreeMap::from([(APP_LABEL.to_owned(), (*part).to_owned())])),
        ports: Some(ports.collect()),
        ..ServiceSpec::default()
    };
    let mut metadata = of_component(name, component, installation.namespace_of(part));
    metadata.labels.get_or_insert_default().insert(APP_LABEL.to_owned(), (*component).to_owned());
    Service { metadata, spec: Some(spec), status: None }
}

fn make_deployment(Part { name, ports }: &Part, installation: &Installation) -> Deployment {
    let of_part = BTreeMap::from([(APP_LABEL.to_owned(), (*name).to_owned())]);
    let mut metadata = of_component(name, name, installation.namespace_of(name));
    metadata.labels.get_or_insert_default().extend(of_part.clone());
    let metrics = [("metrics", i32::from(METRICS_PORT))];
    let ports = metrics.iter().chain(*ports).map(|(name, port)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: *port,
        ..ContainerPort::default()
    });
    let container = Container {
        name: (*name).to_owned(),
        image: Some(installation.image.clone()),
        args: Some(vec![(*name).to_owned()]),
        ports: Some(ports.collect()),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/readyz".to_owned()),
                port: IntOrString::Int(i32::from(METRICS_PORT)),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(5),
            // A busy machine is slow to answer, and without its parts it would be of no use at all.
            timeout_seconds: Some(5),
            failure_threshold: Some(5),
            ..Probe::default()
        }),
        security_context: Some(restricted()),
        ..Container::default()
    };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: metadata.labels.clone(), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container],
            service_account_name: Some((*name).to_owned()),
            enable_service_links: Some(false),
            ..PodSpec::default()
        }),
    };
    let spec = DeploymentSpec {
        replicas: Some(1),
        selector: LabelSelector { match_labels: Some(of_part), ..LabelSelector::default() },
        template,
        ..DeploymentSpec::default()
    };
    Deployment { metadata, spec, status: None }
}

/// What Pod Security's level "restricted" asks for.
fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
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

    fn installation() -> Installation {
        Installation {
            system_namespace: "knative-serving".to_owned(),
            gateway_namespace: "kwick-system".to_owned(),
            image: "kwick".to_owned(),
            domain: "localhost".to_owned(),
            ingress_class: "kwick".to_owned(),
        }
    }

    #[test]
    fn the_services_have_knatives_names_and_ports() {
        let made = manifests(&installation());
        let names: Vec<_> = made.services.iter().filter_map(|service| service.metadata.name.as_deref()).collect();
        assert_eq!(names, ["activator-service", "autoscaler", "controller", "webhook", "gateway", "gateway-internal"]);
        let activator = made.services[0].spec.as_ref().unwrap();
        let ports: Vec<_> = activator.ports.iter().flatten().map(|port| port.port).collect();
        assert_eq!(ports, [9090, 8008, 80, 81, 443]);
        let domain = made.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some("config-domain")).unwrap();
        assert!(domain.data.as_ref().unwrap().contains_key("localhost"));
        assert_eq!(made.service_accounts.len(), made.cluster_role_bindings.len());
    }

    /// A Service without Pods, or a part without an account, would be found only in a cluster.
    #[test]
    fn every_service_finds_a_part_and_every_part_its_account() {
        let made = manifests(&installation());
        let place = |metadata: &ObjectMeta| (metadata.namespace.clone().unwrap(), metadata.name.clone().unwrap());
        let accounts: Vec<_> = made.service_accounts.iter().map(|account| place(&account.metadata)).collect();
        let mut pods = Vec::new();
        for deployment in &made.deployments {
            let (namespace, spec) = (deployment.metadata.namespace.clone().unwrap(), &deployment.spec);
            let labels = spec.template.metadata.as_ref().unwrap().labels.clone().unwrap();
            assert_eq!(spec.selector.match_labels.as_ref().unwrap()["app"], labels["app"]);
            let account = spec.template.spec.as_ref().unwrap().service_account_name.clone().unwrap();
            assert!(accounts.contains(&(namespace.clone(), account)));
            pods.push((namespace, labels["app"].clone()));
        }
        for service in &made.services {
            let selector = service.spec.as_ref().unwrap().selector.as_ref().unwrap();
            let namespace = service.metadata.namespace.clone().unwrap();
            assert!(pods.contains(&(namespace, selector["app"].clone())), "{:?}", service.metadata.name);
        }
    }
}
