//! The shape of a Route.

use super::lifecycle::{ALL_TRAFFIC_ASSIGNED, CERTIFICATE_PROVISIONED, INGRESS_READY};
use crate::condition::Condition;
use crate::duck::Addressable;
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Route gives a host to Revisions, by shares and by tags.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: RouteSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: RouteStatus,
}
knative_kind!(Route, "serving.knative.dev", "v1", "routes", Namespaced, [spec, status]);
conditioned!(Route, RouteStatus, &[ALL_TRAFFIC_ASSIGNED, INGRESS_READY, CERTIFICATE_PROVISIONED]);

/// RouteSpec is the split of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteSpec {
    /// Traffic says which Revisions and Configurations receive which share.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
}

/// TrafficTarget is a Revision, or the latest of a Configuration, and its share of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficTarget {
    /// Tag gives the target a host of its own beside the shared one.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// RevisionName is the Revision that receives the traffic.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub revision_name: String,
    /// ConfigurationName is the Configuration whose latest ready Revision receives the traffic. Not in a Service.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub configuration_name: String,
    /// LatestRevision is true when the latest ready Revision is meant, false when RevisionName is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_revision: Option<bool>,
    /// Percent is the share of the traffic, 0 to 100; the shares sum to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// URL of the tag's host; only in a status.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
}

impl TrafficTarget {
    /// Whether the latest ready Revision is meant.
    pub fn is_latest(&self) -> bool {
        self.latest_revision.unwrap_or_default()
    }

    /// The share of the traffic; what says none has none.
    pub fn share(&self) -> i64 {
        self.percent.unwrap_or_default()
    }
}

/// RouteStatus is where the traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// URL is where the Route is reached from outside, unless it is cluster-local.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Address is where the Route is reached from inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Addressable>,
    /// Traffic is the current split, with names of Revisions in place of "latest".
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
}
