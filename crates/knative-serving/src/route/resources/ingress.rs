//! The Ingress of a Route.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::config::Network;
use knative_apis::meta::{annotation, annotations, label, labels, owner};
use knative_apis::networking::{Ingress, IngressStatus};
use knative_apis::serving::v1::Route;
use knative_logic::names;
use knative_logic::rollout::Rollout;
use knative_logic::traffic::IngressParts;
use kube::ResourceExt;

/// Annotations of a Route or DomainMapping that its Ingress does not carry: what `kubectl` remembers, and older spellings of what it has anyway.
pub(crate) const KEPT_ANNOTATIONS: [&str; 3] =
    [annotation::LAST_APPLIED, "networking.knative.dev/certificate-class", "networking.knative.dev/ingress-class"];

/// The Ingress of `route` at this point of its rollout.
pub(in crate::route) fn make_ingress(
    route: &Route,
    parts: IngressParts,
    rollout: &Rollout,
    network: &Network,
) -> Ingress {
    let IngressParts { spec, tag_to_host } = parts;
    let class = annotation::INGRESS_CLASS.value(annotations(&route.metadata)).unwrap_or(&network.ingress_class);
    let mut made = BTreeMap::from([
        (annotation::INGRESS_CLASS.preferred().to_owned(), class.to_owned()),
        (annotation::ROLLOUT.to_owned(), rollout.to_annotation()),
    ]);
    let handed_down = annotations(&route.metadata).iter().filter(|(key, _)| !KEPT_ANNOTATIONS.contains(&key.as_str()));
    made.extend(handed_down.map(|(key, value)| (key.clone(), value.clone())));
    if !tag_to_host.is_empty() {
        let hosts = serde_json::to_string(&tag_to_host).unwrap_or_default();
        made.insert(annotation::TAG_TO_HOST.to_owned(), hosts);
    }
    let mut labels = labels(&route.metadata).clone();
    labels.insert(label::ROUTE.to_owned(), route.name_any());
    labels.insert(label::ROUTE_NAMESPACE.to_owned(), route.namespace().unwrap_or_default());
    let metadata = ObjectMeta {
        name: Some(names::ingress(&route.name_any())),
        namespace: route.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(made),
        owner_references: Some(vec![owner::controller_ref(route)]),
        ..ObjectMeta::default()
    };
    Ingress { metadata, spec, status: IngressStatus::default() }
}
