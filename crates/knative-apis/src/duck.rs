//! Shapes that many kinds share: what can be called, and what refers to it.

use crate::field_error::{FieldErrors, disallowed_fields, missing_field};
use crate::serde_util::null_default;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an object can be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Addressable {
    /// Name tells several addresses of one object apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// URL to send requests to.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// CACerts are the certificate authorities, in PEM, that the address is to be trusted by.
    #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// Audience is the OIDC audience for the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// A reference to an object by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct KReference {
    /// Kind of the referent.
    #[serde(deserialize_with = "null_default")]
    pub kind: String,
    /// Namespace of the referent; that of the referring object when it is left out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the referent.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// API version of the referent.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Group of the API, without the version of the group.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Address points to a specific address name of the referent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl KReference {
    /// Fills in the namespace of the object that refers.
    pub fn set_defaults(&mut self, parent_namespace: &str) {
        if self.namespace.is_empty() {
            parent_namespace.clone_into(&mut self.namespace);
        }
    }

    /// What is wrong with the reference, in an object of `parent_namespace`.
    pub fn validate(&self, parent_namespace: &str) -> FieldErrors {
        let mut errors = FieldErrors::none();
        if self.name.is_empty() {
            errors.also(missing_field("name"));
        }
        if !self.group.is_empty() {
            errors.also(disallowed_fields(["group"]));
        }
        if self.api_version.is_empty() {
            errors.also(missing_field("apiVersion"));
        }
        if self.kind.is_empty() {
            errors.also(missing_field("kind"));
        }
        let elsewhere = !self.namespace.is_empty() && self.namespace != parent_namespace;
        if elsewhere && !parent_namespace.is_empty() {
            errors.also(FieldErrors::one("mismatched namespaces", ["namespace"]).with_details(format!(
                "parent namespace: {} does not match ref: {}",
                crate::go_text::quote(parent_namespace),
                crate::go_text::quote(&self.namespace)
            )));
        }
        errors
    }
}

/// Where something is to be sent: an object, a URL, or a URL relative to an object's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Destination {
    /// Ref points to an Addressable.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<KReference>,
    /// URI is an absolute URL, or one relative to the address of Ref.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// CACerts are the certificate authorities, in PEM, that the destination is to be trusted by.
    #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// Audience is the OIDC audience for the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}
