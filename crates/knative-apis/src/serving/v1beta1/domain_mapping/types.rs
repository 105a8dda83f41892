//! The shape of a DomainMapping.

use super::lifecycle::{CERTIFICATE_PROVISIONED, DOMAIN_CLAIMED, INGRESS_READY, REFERENCE_RESOLVED};
use crate::condition::Condition;
use crate::duck::{Addressable, KReference};
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// DomainMapping gives the domain name that it is called by to a Service or another addressable object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DomainMapping {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: DomainMappingSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: DomainMappingStatus,
}
knative_kind!(DomainMapping, "serving.knative.dev", "v1beta1", "domainmappings", Namespaced, [spec, status]);
conditioned!(
    DomainMapping,
    DomainMappingStatus,
    &[DOMAIN_CLAIMED, REFERENCE_RESOLVED, INGRESS_READY, CERTIFICATE_PROVISIONED]
);

/// DomainMappingSpec is what the domain leads to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["ref"]))]
pub struct DomainMappingSpec {
    /// Ref is the object that the domain leads to, in the same namespace.
    #[serde(rename = "ref", deserialize_with = "null_default")]
    pub reference: KReference,
    /// TLS is a certificate of the user's for the domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretTls>,
}

/// SecretTLS names a Secret with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["secretName"]))]
pub struct SecretTls {
    /// SecretName is the Secret, in the same namespace.
    #[serde(deserialize_with = "null_default")]
    pub secret_name: String,
}

/// DomainMappingStatus is whether the domain leads there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DomainMappingStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// URL is the domain with its scheme.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Address is where the mapping is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
}
