//! Certificate: asks a certificate provider for a TLS certificate in a Secret.

use crate::condition::{Condition, ConditionedStatus, READY};
use crate::field_error::{FieldErrors, invalid_array_value, invalid_value, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Certificate asks for a TLS certificate for some hosts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: CertificateSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: CertificateStatus,
}
knative_kind!(Certificate, "networking.internal.knative.dev", "v1alpha1", "certificates", Namespaced, [spec, status]);
conditioned!(Certificate, CertificateStatus, &[]);

/// CertificateSpec is which certificate is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["dnsNames", "secretName"]))]
pub struct CertificateSpec {
    /// DNSNames are the names that the certificate is for; wildcards are allowed.
    #[serde(deserialize_with = "null_default")]
    pub dns_names: Vec<String>,
    /// Domain is what the DNSNames end in, when they share an end.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// SecretName is the Secret that the certificate is stored in.
    #[serde(deserialize_with = "null_default")]
    pub secret_name: String,
}

/// CertificateStatus is how far its issue has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CertificateStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// NotAfter is when the certificate expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::schema::date_time")]
    pub not_after: Option<Time>,
    /// HTTP01Challenges are the ACME challenges that must be answered before the certificate is issued.
    #[serde(rename = "http01Challenges", deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub http01_challenges: Vec<Http01Challenge>,
}

/// HTTP01Challenge is an ACME challenge and the Service that answers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Http01Challenge {
    /// URL is where the challenge is asked for.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// ServiceName is the Service that answers.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub service_name: String,
    /// ServiceNamespace is the namespace of that Service.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub service_namespace: String,
    /// ServicePort is the port of that Service, by number or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crds::schema::int_or_string")]
    pub service_port: Option<IntOrString>,
}

impl Certificate {
    /// What is wrong with it.
    pub fn validate(&self) -> FieldErrors {
        self.spec.validate().via_field("spec")
    }
}

impl CertificateSpec {
    fn validate(&self) -> FieldErrors {
        let mut errors = FieldErrors::none();
        if self.dns_names.is_empty() {
            errors.also(missing_field("dnsNames"));
        }
        for (index, name) in self.dns_names.iter().enumerate() {
            if name.is_empty() {
                errors.also(invalid_array_value(name, "dnsNames", index));
            }
        }
        if self.secret_name.is_empty() {
            errors.also(missing_field("secretName"));
        }
        if !self.domain.is_empty() && !self.dns_names.is_empty() && !self.covers_domain() {
            let path = "domain must be a suffix of, or match exactly, at least one entry in dnsNames";
            errors.also(invalid_value("domain", path));
        }
        errors
    }

    fn covers_domain(&self) -> bool {
        self.dns_names.iter().any(|name| {
            name.strip_suffix(self.domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

impl CertificateStatus {
    /// The certificate is in its Secret.
    pub fn mark_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(READY);
    }

    /// The certificate is being provided.
    pub fn mark_not_ready(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(READY, reason, message);
    }

    /// The certificate cannot be provided.
    pub fn mark_failed(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(READY, reason, message);
    }

    /// Something of that name is there and belongs to somebody else.
    pub fn mark_resource_not_owned(&mut self, kind: &str, name: &str, now: Timestamp) {
        let message = crate::serving::not_owned_message(kind, name);
        self.manage(now).mark_false(READY, "NotOwned", &message);
    }
}
