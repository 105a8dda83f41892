//! The shape of a Revision: a Pod's spec, of which Knative accepts a part, and how it is served.

use super::lifecycle::{CONTAINER_HEALTHY, RESOURCES_AVAILABLE};
use crate::condition::Condition;
use crate::kind::{conditioned, knative_kind};
use crate::open_enum::open_enum;
use crate::serde_util::{is_default, null_default};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Revision is one version of a workload. It is made by a Configuration and does not change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Revision {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: RevisionSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: RevisionStatus,
}
knative_kind!(Revision, "serving.knative.dev", "v1", "revisions", Namespaced, [spec, status]);
conditioned!(Revision, RevisionStatus, &[RESOURCES_AVAILABLE, CONTAINER_HEALTHY]);

open_enum! {
    /// Whether a Route leads to a Revision, as its label says.
    RoutingState {
        /// Not known yet: it has just been made.
        Pending = "pending",
        /// A Route leads to it.
        Active = "active",
        /// No Route leads to it; it may be collected.
        Reserve = "reserve",
    }
}

/// RevisionTemplateSpec is the template of a Revision: its labels, annotations, perhaps its name, and its spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RevisionTemplateSpec {
    /// Metadata of the Revision. A name, if given, begins with the name of the Service or Configuration and "-".
    #[serde(deserialize_with = "null_default")]
    #[schemars(schema_with = "crate::crds::schema::template_metadata")]
    pub metadata: ObjectMeta,
    /// Spec of the Revision.
    #[serde(deserialize_with = "null_default")]
    pub spec: RevisionSpec,
}

/// RevisionSpec is the Pod that serves, and how it is served.
///
/// Of the Pod's spec Knative accepts a part; the rest is refused or not stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RevisionSpec {
    /// The Pod: containers, volumes, service account and the like.
    #[serde(flatten)]
    pub pod: PodSpec,
    /// How many requests one Pod takes at a time; 0 means any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_concurrency: Option<i64>,
    /// How long a request may take, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    /// How long a request may wait for the first byte of its response, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_start_timeout_seconds: Option<i64>,
    /// How long a response may pause, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<i64>,
}

impl JsonSchema for RevisionSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RevisionSpec".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        crate::crds::schema::revision_spec()
    }
}

/// RevisionStatus is what has become of the Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RevisionStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// LogURL is where the logs of the Revision are found, if the operator configured it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub log_url: String,
    /// ContainerStatuses holds the images of the containers by digest.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// InitContainerStatuses holds the images of the init containers by digest.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// ActualReplicas is how many Pods are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_replicas: Option<i32>,
    /// DesiredReplicas is how many Pods there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
}

/// ContainerStatus is a container and its image by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name of the container.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// ImageDigest is the image as it runs, `repository@sha256:…`; empty if it was not resolved.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub image_digest: String,
}
