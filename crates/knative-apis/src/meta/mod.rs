//! What Knative writes around its objects: names, owners, labels, annotations, headers, ports.
//!
//! - [`label`], [`annotation`], [`header`], [`port`] are constants only;
//! - [`internal_tls`] names what Knative's parts show each other;
//! - [`Key`] names a namespaced object, [`owner`] makes and reads owner references;
//! - [`KeyPriority`] reads an annotation that has had several spellings;
//! - [`child_name`] derives the name of a child from its parent's.

pub mod annotation;
pub mod header;
pub mod internal_tls;
pub mod label;
pub mod owner;
pub mod port;

mod child_name;
mod key;
mod key_priority;

pub use child_name::{LONGEST_NAME, child_name};
pub use key::Key;
pub use key_priority::KeyPriority;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// The API group of Service, Configuration, Revision, Route and DomainMapping.
pub const SERVING_GROUP: &str = "serving.knative.dev";
/// The API group of PodAutoscaler and Metric.
pub const AUTOSCALING_INTERNAL_GROUP: &str = "autoscaling.internal.knative.dev";
/// The group of the annotations that steer autoscaling.
pub const AUTOSCALING_GROUP: &str = "autoscaling.knative.dev";
/// The API group of ServerlessService, Ingress, Certificate and ClusterDomainClaim.
pub const NETWORKING_INTERNAL_GROUP: &str = "networking.internal.knative.dev";
/// The group of the annotations and labels that steer networking.
pub const NETWORKING_GROUP: &str = "networking.knative.dev";
/// The API group of Image.
pub const CACHING_INTERNAL_GROUP: &str = "caching.internal.knative.dev";

/// The name of the Service in front of the activators, in the system namespace.
pub const ACTIVATOR_SERVICE: &str = "activator-service";
/// The namespace of Knative's own objects and ConfigMaps unless configured otherwise.
pub const SYSTEM_NAMESPACE: &str = "knative-serving";
/// The DNS domain of a cluster unless configured otherwise.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

/// The labels of `meta`, empty when it has none.
pub fn labels(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    meta.labels.as_ref().unwrap_or(&EMPTY)
}

/// The annotations of `meta`, empty when it has none.
pub fn annotations(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    meta.annotations.as_ref().unwrap_or(&EMPTY)
}

/// The value of one label, if it is there.
pub fn label_value<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    labels(meta).get(key).map(String::as_str)
}

/// The value of one annotation, if it is there.
pub fn annotation_value<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    annotations(meta).get(key).map(String::as_str)
}

/// The DNS name of a Kubernetes Service inside the cluster.
pub fn service_hostname(name: &str, namespace: &str, cluster_domain: &str) -> String {
    format!("{name}.{namespace}.svc.{cluster_domain}")
}
