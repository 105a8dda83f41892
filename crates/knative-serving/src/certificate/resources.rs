//! The Secrets of a Certificate and of the authority.

use std::collections::BTreeMap;

use base_controller::Key;
use base_net::pki::Credentials;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::meta::{label, owner};
use knative_apis::networking::Certificate;
use kube::ResourceExt;

use super::workshop::{AUTHORITY, CERTIFICATE, KEY};

/// The label that says what an object of Knative's is for.
pub(super) const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// What it says on the authority's Secret, if that was made here.
pub(super) const AUTHORITY_COMPONENT: &str = "certificate-authority";
const NAME_LABEL: &str = "app.kubernetes.io/name";
const TLS_SECRETS: &str = "kubernetes.io/tls";

/// The Secret that `certificate` names, with what has been issued.
pub(super) fn make_secret(certificate: &Certificate, issued: &Credentials, authority_pem: &str) -> Secret {
    let uid = certificate.uid().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(certificate.spec.secret_name.clone()),
        namespace: certificate.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([(label::CERTIFICATE_UID.to_owned(), uid)])),
        owner_references: Some(vec![owner::controller_ref(certificate)]),
        ..ObjectMeta::default()
    };
    let mut secret = make_pair(metadata, issued);
    secret.data.get_or_insert_default().insert(AUTHORITY.to_owned(), bytes(authority_pem));
    secret
}

/// The authority's Secret at `place`.
pub(super) fn make_authority_secret(place: &Key, authority: &Credentials) -> Secret {
    let labels = [(COMPONENT_LABEL, AUTHORITY_COMPONENT), (NAME_LABEL, "knative-serving")];
    let metadata = ObjectMeta {
        name: Some(place.name().to_owned()),
        namespace: Some(place.namespace().to_owned()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    };
    make_pair(metadata, authority)
}

fn make_pair(metadata: ObjectMeta, pair: &Credentials) -> Secret {
    let data = [(CERTIFICATE, &pair.certificate_pem), (KEY, &pair.key_pem)];
    Secret {
        metadata,
        type_: Some(TLS_SECRETS.to_owned()),
        data: Some(data.map(|(name, text)| (name.to_owned(), bytes(text))).into()),
        ..Secret::default()
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
