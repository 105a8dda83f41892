//! The shape of a Service.

use super::lifecycle::{CONFIGURATIONS_READY, ROUTES_READY};
use crate::condition::Condition;
use crate::duck::Addressable;
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use crate::serving::v1::{RevisionTemplateSpec, TrafficTarget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Service runs a container image behind a URL: it keeps a Configuration, which makes Revisions,
/// and a Route, which sends traffic to them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: ServiceSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: ServiceStatus,
}
knative_kind!(Service, "serving.knative.dev", "v1", "services", Namespaced, [spec, status]);
conditioned!(Service, ServiceStatus, &[CONFIGURATIONS_READY, ROUTES_READY]);

/// ServiceSpec is the template of the Revisions and the traffic between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceSpec {
    /// Template is what the next Revision is made from.
    #[serde(deserialize_with = "null_default")]
    pub template: RevisionTemplateSpec,
    /// Traffic says which Revisions receive which share; all goes to the latest ready one when it is left out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
}

/// ServiceStatus is what has become of the Configuration and the Route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
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
    /// URL is where the Service is reached from outside, unless it is cluster-local.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Address is where the Service is reached from inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    /// Traffic is the current split, with names of Revisions in place of "latest".
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
}
