//! The shape of a Configuration.

use crate::condition::Condition;
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use crate::serving::v1::RevisionTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Configuration holds the template of a workload; each change of it becomes a Revision.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: ConfigurationSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: ConfigurationStatus,
}
knative_kind!(Configuration, "serving.knative.dev", "v1", "configurations", Namespaced, [spec, status]);
conditioned!(Configuration, ConfigurationStatus, &[]);

/// ConfigurationSpec is the template of the Revisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigurationSpec {
    /// Template is what the next Revision is made from.
    #[serde(deserialize_with = "null_default")]
    pub template: RevisionTemplateSpec,
}

/// ConfigurationStatus is which Revisions came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// LatestReadyRevisionName is the newest Revision that is ready.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub latest_ready_revision_name: String,
    /// LatestCreatedRevisionName is the newest Revision; it may not be ready yet.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub latest_created_revision_name: String,
}
