//! Image of `caching.internal.knative.dev/v1alpha1`: says that an image will be needed again.

use crate::condition::{Condition, ConditionedStatus, READY};
use crate::field_error::{FieldErrors, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::LocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Image is a hint that an image should be kept near.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: ImageSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: ImageStatus,
}
knative_kind!(Image, "caching.internal.knative.dev", "v1alpha1", "images", Namespaced, [spec, status]);
conditioned!(Image, ImageStatus, &[]);

/// ImageSpec is which image, and how to get it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["image"]))]
pub struct ImageSpec {
    /// Image is the reference of the container image.
    #[serde(deserialize_with = "null_default")]
    pub image: String,
    /// ServiceAccountName is the account whose pull secrets may be used.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// ImagePullSecrets are the secrets to pull the image with.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::crds::schema::image_pull_secrets_list")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// ImageStatus is whether it is near.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Image {
    /// What is wrong with it.
    pub fn validate(&self) -> FieldErrors {
        if self.spec.image.is_empty() {
            return missing_field("image").via_field("spec");
        }
        let mut errors = FieldErrors::none();
        for (index, secret) in self.spec.image_pull_secrets.iter().enumerate() {
            if secret.name.is_empty() {
                errors.also(missing_field("name").via_field_index("imagePullSecrets", index));
            }
        }
        errors.via_field("spec")
    }
}

impl ImageStatus {
    /// The image is near.
    pub fn mark_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(READY);
    }

    /// The image cannot be kept.
    pub fn mark_failed(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(READY, reason, message);
    }
}
