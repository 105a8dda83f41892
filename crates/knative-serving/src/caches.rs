//! Every cache that the controllers of this crate read: one informer per kind, shared, and the indexes over them.

use base_controller::{Context, Informer, Key, Scope};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod, Secret, Service as CoreService};
use knative_apis::autoscaling::{Metric, PodAutoscaler};
use knative_apis::caching::Image;
use knative_apis::meta::{annotation, annotation_value, label, label_value};
use knative_apis::networking::{Certificate, ClusterDomainClaim, Ingress, ServerlessService};
use knative_apis::serving::v1::{Configuration, Revision, Route, Service};
use knative_apis::serving::v1beta1::DomainMapping;
use kube::core::Expression;
use kube::{Resource, ResourceExt};

use crate::lister::{Lister, Lookup};

/// Secrets that hold a certificate.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// The informers.
#[derive(Clone, Debug)]
pub(crate) struct Informed {
    pub(crate) services: Informer<Service>,
    pub(crate) configurations: Informer<Configuration>,
    pub(crate) revisions: Informer<Revision>,
    pub(crate) routes: Informer<Route>,
    pub(crate) pod_autoscalers: Informer<PodAutoscaler>,
    pub(crate) metrics: Informer<Metric>,
    pub(crate) horizontals: Informer<HorizontalPodAutoscaler>,
    pub(crate) serverless_services: Informer<ServerlessService>,
    pub(crate) ingresses: Informer<Ingress>,
    pub(crate) certificates: Informer<Certificate>,
    pub(crate) domain_mappings: Informer<DomainMapping>,
    pub(crate) domain_claims: Informer<ClusterDomainClaim>,
    pub(crate) images: Informer<Image>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) core_services: Informer<CoreService>,
    pub(crate) endpoints: Informer<Endpoints>,
    /// Those that hold a certificate.
    pub(crate) secrets: Informer<Secret>,
    pub(crate) namespaces: Informer<Namespace>,
}

impl Informed {
    /// The informers of `context`; each watch starts at its first use anywhere in the process.
    pub(crate) fn new(context: &Context) -> Self {
        let informers = &context.informers;
        let of_revisions = Expression::Exists(label::REVISION_UID.to_owned());
        Self {
            services: informers.get(Scope::all()),
            configurations: informers.get(Scope::all()),
            revisions: informers.get(Scope::all()),
            routes: informers.get(Scope::all()),
            pod_autoscalers: informers.get(Scope::all()),
            metrics: informers.get(Scope::all()),
            horizontals: informers.get(Scope::all()),
            serverless_services: informers.get(Scope::all()),
            ingresses: informers.get(Scope::all()),
            certificates: informers.get(Scope::all()),
            domain_mappings: informers.get(Scope::all()),
            domain_claims: informers.get(Scope::all()),
            images: informers.get(Scope::all()),
            deployments: informers.get(Scope::all()),
            pods: informers.get(Scope::all().with_labels(of_revisions.into())),
            core_services: informers.get(Scope::all()),
            endpoints: informers.get(Scope::all()),
            secrets: informers.get(Scope::all().with_fields(TLS_SECRETS)),
            namespaces: informers.get(Scope::all()),
        }
    }
}

/// What `gather` reads.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    pub(crate) services: Lister<Service>,
    pub(crate) configurations: Lister<Configuration>,
    pub(crate) revisions: Lister<Revision>,
    pub(crate) routes: Lister<Route>,
    pub(crate) pod_autoscalers: Lister<PodAutoscaler>,
    pub(crate) metrics: Lister<Metric>,
    pub(crate) horizontals: Lister<HorizontalPodAutoscaler>,
    pub(crate) serverless_services: Lister<ServerlessService>,
    pub(crate) ingresses: Lister<Ingress>,
    pub(crate) certificates: Lister<Certificate>,
    pub(crate) domain_mappings: Lister<DomainMapping>,
    pub(crate) domain_claims: Lister<ClusterDomainClaim>,
    pub(crate) images: Lister<Image>,
    pub(crate) deployments: Lister<Deployment>,
    pub(crate) core_services: Lister<CoreService>,
    pub(crate) endpoints: Lister<Endpoints>,
    pub(crate) secrets: Lister<Secret>,
    pub(crate) namespaces: Lister<Namespace>,
    /// Revisions by their Configuration.
    pub(crate) revisions_of_configuration: Lookup<Revision>,
    /// Revisions by the Routes that their annotation names.
    pub(crate) revisions_of_route: Lookup<Revision>,
    /// Configurations by the Routes that their annotation names.
    pub(crate) configurations_of_route: Lookup<Configuration>,
    /// Revisions by their namespace.
    pub(crate) revisions_of_namespace: Lookup<Revision>,
    /// Pods by their Revision.
    pub(crate) pods_of_revision: Lookup<Pod>,
    /// Kubernetes Services by their Route.
    pub(crate) services_of_route: Lookup<CoreService>,
    /// Certificates by their Route.
    pub(crate) certificates_of_route: Lookup<Certificate>,
    /// Wildcard Certificates by their namespace.
    pub(crate) wildcards_of_namespace: Lookup<Certificate>,
}

/// The listers that everything else is derived from.
struct Listers {
    services: Lister<Service>,
    configurations: Lister<Configuration>,
    revisions: Lister<Revision>,
    routes: Lister<Route>,
    pod_autoscalers: Lister<PodAutoscaler>,
    metrics: Lister<Metric>,
    horizontals: Lister<HorizontalPodAutoscaler>,
    serverless_services: Lister<ServerlessService>,
    ingresses: Lister<Ingress>,
    certificates: Lister<Certificate>,
    domain_mappings: Lister<DomainMapping>,
    domain_claims: Lister<ClusterDomainClaim>,
    images: Lister<Image>,
    deployments: Lister<Deployment>,
    pods: Lister<Pod>,
    core_services: Lister<CoreService>,
    endpoints: Lister<Endpoints>,
    secrets: Lister<Secret>,
    namespaces: Lister<Namespace>,
}

impl Caches {
    /// Reads the process's informers.
    pub(crate) fn live(informed: &Informed) -> Self {
        Self::of(Listers {
            services: Lister::live(&informed.services),
            configurations: Lister::live(&informed.configurations),
            revisions: Lister::live(&informed.revisions),
            routes: Lister::live(&informed.routes),
            pod_autoscalers: Lister::live(&informed.pod_autoscalers),
            metrics: Lister::live(&informed.metrics),
            horizontals: Lister::live(&informed.horizontals),
            serverless_services: Lister::live(&informed.serverless_services),
            ingresses: Lister::live(&informed.ingresses),
            certificates: Lister::live(&informed.certificates),
            domain_mappings: Lister::live(&informed.domain_mappings),
            domain_claims: Lister::live(&informed.domain_claims),
            images: Lister::live(&informed.images),
            deployments: Lister::live(&informed.deployments),
            pods: Lister::live(&informed.pods),
            core_services: Lister::live(&informed.core_services),
            endpoints: Lister::live(&informed.endpoints),
            secrets: Lister::live(&informed.secrets),
            namespaces: Lister::live(&informed.namespaces),
        })
    }

    fn of(listers: Listers) -> Self {
        Self {
            revisions_of_configuration: listers.revisions.by("configuration", |r| labelled(r, label::CONFIGURATION)),
            revisions_of_namespace: listers
                .revisions
                .by("namespace", |revision| revision.metadata.namespace.iter().cloned().collect()),
            revisions_of_route: listers.revisions.by("routes", routes_of),
            configurations_of_route: listers.configurations.by("routes", routes_of),
            pods_of_revision: listers.pods.by("revision", |pod| labelled(pod, label::REVISION)),
            services_of_route: listers.core_services.by("route", |service| labelled(service, label::ROUTE)),
            certificates_of_route: listers.certificates.by("route", |certificate| labelled(certificate, label::ROUTE)),
            wildcards_of_namespace: listers.certificates.by("wildcards", wildcard_of),
            services: listers.services,
            configurations: listers.configurations,
            revisions: listers.revisions,
            routes: listers.routes,
            pod_autoscalers: listers.pod_autoscalers,
            metrics: listers.metrics,
            horizontals: listers.horizontals,
            serverless_services: listers.serverless_services,
            ingresses: listers.ingresses,
            certificates: listers.certificates,
            domain_mappings: listers.domain_mappings,
            domain_claims: listers.domain_claims,
            images: listers.images,
            deployments: listers.deployments,
            core_services: listers.core_services,
            endpoints: listers.endpoints,
            secrets: listers.secrets,
            namespaces: listers.namespaces,
        }
    }
}

/// The value under which [`Caches`] indexes what belongs to the object `key`: `namespace/name`.
pub(crate) fn index_value(key: &Key) -> String {
    key.to_string()
}

/// The names in the annotation that lists the Routes leading to an object.
pub(crate) fn route_names<K: Resource>(object: &K) -> impl Iterator<Item = &str> {
    let listed = annotation_value(object.meta(), annotation::ROUTES).unwrap_or_default();
    listed.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The key of what a label of a namespaced object names, if it is there.
pub(crate) fn labelled_key<K: Resource>(object: &K, label: &str) -> Option<Key> {
    let name = label_value(object.meta(), label)?;
    Some(Key::new(object.meta().namespace.as_deref().unwrap_or_default(), name))
}

fn labelled<K: Resource>(object: &K, label: &str) -> Vec<String> {
    labelled_key(object, label).iter().map(index_value).collect()
}

fn wildcard_of(certificate: &Certificate) -> Vec<String> {
    let is_wildcard = label_value(&certificate.metadata, label::WILDCARD_DOMAIN).is_some();
    certificate.metadata.namespace.iter().filter(|_| is_wildcard).cloned().collect()
}

fn routes_of<K: Resource>(object: &K) -> Vec<String> {
    let namespace = object.namespace().unwrap_or_default();
    route_names(object).map(|name| index_value(&Key::new(namespace.as_str(), name))).collect()
}

#[cfg(test)]
impl Caches {
    /// Reads a list of objects of any of the kinds.
    pub(crate) fn fixed(objects: &[serde_json::Value]) -> Self {
        fn all<K: base_controller::Object<DynamicType = ()>>(objects: &[serde_json::Value]) -> Lister<K> {
            let kind = (K::api_version(&()).into_owned(), K::kind(&()).into_owned());
            let is_meant = |object: &&serde_json::Value| {
                object["apiVersion"] == kind.0.as_str() && object["kind"] == kind.1.as_str()
            };
            let decode = |object: &serde_json::Value| {
                let decoded = serde_json::from_value(object.clone());
                std::sync::Arc::new(decoded.unwrap_or_else(|error| panic!("{error} in {object}")))
            };
            Lister::fixed(objects.iter().filter(is_meant).map(decode).collect())
        }
        Self::of(Listers {
            services: all(objects),
            configurations: all(objects),
            revisions: all(objects),
            routes: all(objects),
            pod_autoscalers: all(objects),
            metrics: all(objects),
            horizontals: all(objects),
            serverless_services: all(objects),
            ingresses: all(objects),
            certificates: all(objects),
            domain_mappings: all(objects),
            domain_claims: all(objects),
            images: all(objects),
            deployments: all(objects),
            pods: all(objects),
            core_services: all(objects),
            endpoints: all(objects),
            secrets: all(objects),
            namespaces: all(objects),
        })
    }
}
