//! What a DomainMapping is made of: the claim of its name, its Certificate, and the Ingress that serves it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::config::Network;
use knative_apis::go_text::quote;
use knative_apis::meta::{annotation, annotations, label, labels, owner};
use knative_apis::networking::{
    Certificate, ClusterDomainClaim, ClusterDomainClaimSpec, Http01Challenge, HttpIngressPath, HttpIngressRuleValue,
    HttpOption, Ingress, IngressBackendSplit, IngressRule, IngressSpec, IngressStatus, IngressTls, Visibility,
};
use knative_apis::serving::v1beta1::DomainMapping;
use knative_logic::names;
use knative_logic::traffic::challenge_path;
use kube::ResourceExt;

use crate::certified::{self, Purpose};
use crate::route::KEPT_ANNOTATIONS;

/// The longest value of a label.
const LABEL_CHARS: usize = 63;
/// The port of the Service that a name leads to.
const PORT: i32 = 80;
/// The header in which the name itself goes along, as Knative writes it.
const ORIGINAL_HOST: &str = "K-Original-Host";

/// A Service of the mapping's namespace, and the host that it is asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    host: String,
    service: String,
}

impl Destination {
    /// The Service that a URL names, or in Knative's words why it names none that a domain of this namespace can lead to.
    pub(super) fn of(url: &str, namespace: &str, cluster_domain: &str) -> Result<Self, String> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let wrong = |what: &str| format!("resolved URI {} {what}", quote(url));
        if !path.is_empty() {
            return Err(wrong("contains a path"));
        }
        let suffix = format!(".svc.{cluster_domain}");
        let parts = host.strip_suffix(&suffix).and_then(|name| name.split_once('.'));
        match parts.filter(|(_, rest)| !rest.contains('.')) {
            None => Err(wrong(&format!("must be of the form {{name}}.{{namespace}}{suffix}"))),
            Some((_, other)) if other != namespace => Err(wrong("must be in same namespace as DomainMapping")),
            Some((service, _)) => Ok(Self { host: host.to_owned(), service: service.to_owned() }),
        }
    }
}

/// The claim of the mapping's name for its namespace. It has no owner: it is the cluster's.
pub(super) fn make_claim(mapping: &DomainMapping) -> ClusterDomainClaim {
    let metadata = ObjectMeta { name: Some(mapping.name_any()), ..ObjectMeta::default() };
    let spec = ClusterDomainClaimSpec { namespace: mapping.namespace().unwrap_or_default() };
    ClusterDomainClaim { metadata, spec }
}

/// What the certificate of a mapping comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// The Secret that its name is served with.
    pub(super) ingress: Option<IngressTls>,
    /// Challenges that its name must answer.
    pub(super) challenges: Vec<Http01Challenge>,
    /// Whether its URL is `https`.
    pub(super) is_secured: bool,
}

/// The Certificate of the mapping's name.
pub(super) fn make_certificate(mapping: &DomainMapping, network: &Network) -> Certificate {
    let host = mapping.name_any();
    // Knative writes the name there; a label is too short for some.
    let mapped = if host.len() <= LABEL_CHARS { host.clone() } else { mapping.uid().unwrap_or_default() };
    let labels = BTreeMap::from([
        (label::DOMAIN_MAPPING_UID.to_owned(), mapped),
        (label::CERTIFICATE_TYPE.to_owned(), Purpose::ExternalDomain.word().to_owned()),
    ]);
    let named = (names::ingress(&host), network.certificate_class.as_str());
    certified::make_certificate(mapping, named, labels, (vec![host.clone()], host))
}

/// The Ingress by which the mapping's name leads to `destination`.
pub(super) fn make_ingress(
    mapping: &DomainMapping,
    destination: &Destination,
    (http_option, tls): (HttpOption, Tls),
    network: &Network,
) -> Ingress {
    let (name, namespace) = (mapping.name_any(), mapping.namespace().unwrap_or_default());
    let split = IngressBackendSplit {
        percent: 100,
        append_headers: BTreeMap::from([(ORIGINAL_HOST.to_owned(), name.clone())]),
        service_namespace: namespace.clone(),
        service_name: destination.service.clone(),
        service_port: IntOrString::Int(PORT),
    };
    let path =
        HttpIngressPath { rewrite_host: destination.host.clone(), splits: vec![split], ..HttpIngressPath::default() };
    let hosts = vec![name];
    let challenges = tls.challenges.iter().filter_map(|challenge| challenge_path(challenge, &hosts));
    let paths = challenges.chain([path]).collect();
    let http = Some(HttpIngressRuleValue { paths });
    let rule = IngressRule { hosts: hosts.clone(), visibility: Visibility::ExternalIp, http };
    let spec = IngressSpec { http_option, tls: tls.ingress.into_iter().collect(), rules: vec![rule] };
    Ingress { metadata: metadata(mapping, network), spec, status: IngressStatus::default() }
}

fn metadata(mapping: &DomainMapping, network: &Network) -> ObjectMeta {
    let given = annotations(&mapping.metadata);
    let class = annotation::INGRESS_CLASS.value(given).unwrap_or(&network.ingress_class);
    let mut made = BTreeMap::from([(annotation::INGRESS_CLASS.preferred().to_owned(), class.to_owned())]);
    let handed_down = given.iter().filter(|(key, _)| !KEPT_ANNOTATIONS.contains(&key.as_str()));
    made.extend(handed_down.map(|(key, value)| (key.clone(), value.clone())));
    let mut labels = labels(&mapping.metadata).clone();
    labels.insert(label::DOMAIN_MAPPING_UID.to_owned(), mapping.uid().unwrap_or_default());
    labels.insert(label::DOMAIN_MAPPING_NAMESPACE.to_owned(), mapping.namespace().unwrap_or_default());
    ObjectMeta {
        name: Some(names::ingress(&mapping.name_any())),
        namespace: mapping.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(made),
        owner_references: Some(vec![owner::controller_ref(mapping)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_of_the_same_namespace_is_a_destination() {
        let of = |url| Destination::of(url, "shop", "cluster.local");
        let cart = Destination { host: "cart.shop.svc.cluster.local".to_owned(), service: "cart".to_owned() };
        assert_eq!(of("http://cart.shop.svc.cluster.local"), Ok(cart.clone()));
        assert_eq!(of("https://cart.shop.svc.cluster.local/"), Ok(cart));
        for (url, why) in [
            ("http://cart.shop.svc.cluster.local/path", "contains a path"),
            ("http://cart.other.svc.cluster.local", "same namespace"),
            ("http://v1.cart.shop.svc.cluster.local", "must be of the form"),
            ("http://cart.example.com", "must be of the form {name}.{namespace}.svc.cluster.local"),
        ] {
            let said = of(url).unwrap_err();
            assert!(said.contains(why) && said.contains(url), "{said}");
        }
    }
}
