//! Certificates that other kinds ask for: made, kept, and looked at by those that own them.

use std::collections::BTreeMap;

use base_controller::Plan;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::condition::{Conditioned, ConditionedStatus, READY};
use knative_apis::config::Network;
use knative_apis::meta::{annotation, annotations, label, owner};
use knative_apis::networking::{Certificate, CertificateSpec, CertificateStatus, Http01Challenge, IngressTls};
use knative_apis::validation::semantically_equal;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::json;
use crate::route::KEPT_ANNOTATIONS;
use crate::status::{create, update};

/// What a Certificate secures: the value of its label `certificate-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Hosts that everybody can reach.
    ExternalDomain,
    /// Hosts of the inside of the cluster.
    ClusterLocalDomain,
    /// What Knative's parts say to each other.
    SystemInternal,
}

impl Purpose {
    /// As the label says it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ExternalDomain => "external-domain",
            Self::ClusterLocalDomain => "cluster-local-domain",
            Self::SystemInternal => "system-internal",
        }
    }
}

/// The class of the Certificates of `owner`: its own wish, or the operator's.
pub(crate) fn class<'a>(owner: &'a ObjectMeta, network: &'a Network) -> &'a str {
    annotation::CERTIFICATE_CLASS.value(annotations(owner)).unwrap_or(&network.certificate_class)
}

/// Whether public hosts of `owner` are to have certificates.
pub(crate) fn is_external_tls_wanted(owner: &ObjectMeta, network: &Network) -> bool {
    let disabled = annotation::DISABLE_EXTERNAL_DOMAIN_TLS.value(annotations(owner));
    let is_disabled = disabled.is_some_and(|text| ["1", "t", "T", "true", "TRUE", "True"].contains(&text));
    network.external_domain_tls && !is_disabled
}

/// A Certificate named `name`, kept in a Secret of the same name.
pub(crate) fn make_certificate<K: Resource<DynamicType = ()>>(
    owner: &K,
    (name, class): (String, &str),
    labels: BTreeMap<String, String>,
    (dns_names, domain): (Vec<String>, String),
) -> Certificate {
    let handed_down = annotations(owner.meta()).iter().filter(|(key, _)| !KEPT_ANNOTATIONS.contains(&key.as_str()));
    let mut annotations: BTreeMap<String, String> =
        handed_down.map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.insert(annotation::CERTIFICATE_CLASS.preferred().to_owned(), class.to_owned());
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: owner.meta().namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owner::controller_ref(owner)]),
        ..ObjectMeta::default()
    };
    let spec = CertificateSpec { dns_names, domain, secret_name: name };
    Certificate { metadata, spec, status: CertificateStatus::default() }
}

/// A Certificate of a namespace itself, which carries none of its annotations.
pub(crate) fn make_certificate_of_namespace(
    namespace: &Namespace,
    (name, class): (String, &str),
    labels: BTreeMap<String, String>,
    dns_names: Vec<String>,
) -> Certificate {
    let metadata = ObjectMeta {
        namespace: Some(namespace.name_any()),
        name: Some(name.clone()),
        labels: Some(labels),
        annotations: Some([(annotation::CERTIFICATE_CLASS.preferred().to_owned(), class.to_owned())].into()),
        owner_references: Some(vec![owner::controller_ref(namespace)]),
        ..ObjectMeta::default()
    };
    let spec = CertificateSpec { dns_names, domain: String::new(), secret_name: name };
    Certificate { metadata, spec, status: CertificateStatus::default() }
}

/// How far a Certificate has come that its owner keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress<'a> {
    /// Somebody else has one of that name.
    NotOwned,
    /// It is issued.
    Ready(&'a Certificate),
    /// It is not yet.
    Waiting(&'a Certificate),
    /// It cannot be.
    Failed(&'a Certificate),
}

/// Keeps `desired`, and says how far it has come. A refusal becomes a False condition `type_` of the owner.
pub(crate) fn keep<'a, S>(
    plan: &mut Plan<S>,
    (existing, desired): (Option<&'a Certificate>, &'a Certificate),
    (owner, type_): (&ObjectMeta, &str),
) -> Progress<'a> {
    let what = format!("Certificate {}/{}", desired.namespace().unwrap_or_default(), desired.name_any());
    let Some(existing) = existing else {
        plan.changes.push(create(desired, type_, &what));
        return Progress::Waiting(desired);
    };
    if !owner::is_controlled_by(&existing.metadata, owner) {
        return Progress::NotOwned;
    }
    let places: &[&[&str]] = &[&["spec"], &["metadata", "labels"], &["metadata", "annotations"]];
    let change = json::change(existing, json::replacing(existing, &written(desired), places));
    plan.changes.extend(change.map(|change| update(change, type_, &what)));
    if !semantically_equal(&existing.spec, &desired.spec) {
        return Progress::Waiting(desired);
    }
    progress(existing)
}

/// How far a Certificate has come, whosever.
pub(crate) fn progress(certificate: &Certificate) -> Progress<'_> {
    if certificate.is_ready() {
        Progress::Ready(certificate)
    } else if certificate.is_observed() && certificate.status.is_false(READY) {
        Progress::Failed(certificate)
    } else {
        Progress::Waiting(certificate)
    }
}

/// What owners write of a Certificate.
fn written(certificate: &Certificate) -> Value {
    let ObjectMeta { labels, annotations, .. } = &certificate.metadata;
    json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": certificate.spec })
}

/// The challenges that stand in the way of the Certificate, or of its renewal.
pub(crate) fn challenges<'a>(progress: &Progress<'a>) -> &'a [Http01Challenge] {
    match progress {
        Progress::NotOwned => &[],
        Progress::Ready(certificate) if !certificate.status.is_true("Renewing") => &[],
        Progress::Ready(certificate) | Progress::Waiting(certificate) | Progress::Failed(certificate) => {
            &certificate.status.http01_challenges
        }
    }
}

/// What an Ingress says of hosts whose certificate is issued.
pub(crate) fn ingress_tls(certificate: &Certificate, hosts: Vec<String>) -> IngressTls {
    IngressTls {
        hosts,
        secret_name: certificate.spec.secret_name.clone(),
        secret_namespace: certificate.namespace().unwrap_or_default(),
    }
}

/// Whether a wildcard Certificate covers all these hosts.
pub(crate) fn covers(certificate: &Certificate, hosts: &[String]) -> bool {
    let parents: Vec<&str> =
        certificate.spec.dns_names.iter().filter_map(|name| name.split_once('.').map(|(_, parent)| parent)).collect();
    hosts.iter().all(|host| host.split_once('.').is_some_and(|(_, parent)| parents.contains(&parent)))
}

/// Whether it has been made for this purpose.
pub(crate) fn is_for(certificate: &Certificate, purpose: Purpose) -> bool {
    knative_apis::meta::label_value(&certificate.metadata, label::CERTIFICATE_TYPE) == Some(purpose.word())
}
