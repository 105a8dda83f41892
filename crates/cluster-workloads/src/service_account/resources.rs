//! What every namespace has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The name of the account that Pods have unless they ask for another.
pub(super) const ACCOUNT: &str = "default";
/// The name of the map with the certificate authority.
pub(super) const CA_MAP: &str = "kube-root-ca.crt";

const CA_KEY: &str = "ca.crt";

/// The namespace's account.
pub(super) fn make_account(namespace: &str) -> ServiceAccount {
    ServiceAccount { metadata: metadata(namespace, ACCOUNT), ..ServiceAccount::default() }
}

/// The namespace's map.
pub(super) fn make_ca_map(namespace: &str, ca_bundle: &str) -> ConfigMap {
    let description = "The certificate authority of this cluster's API server, for clients inside the cluster.";
    let annotations = BTreeMap::from([("kubernetes.io/description".to_owned(), description.to_owned())]);
    ConfigMap {
        metadata: ObjectMeta { annotations: Some(annotations), ..metadata(namespace, CA_MAP) },
        data: Some(BTreeMap::from([(CA_KEY.to_owned(), ca_bundle.to_owned())])),
        ..ConfigMap::default()
    }
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }
}
