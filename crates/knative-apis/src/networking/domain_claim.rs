//! ClusterDomainClaim: gives a domain name, the claim's own, to one namespace of the cluster.

use crate::kind::knative_kind;
use crate::serde_util::null_default;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// ClusterDomainClaim gives the domain name that it is called by to one namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClusterDomainClaim {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: ClusterDomainClaimSpec,
}
knative_kind!(
    ClusterDomainClaim,
    "networking.internal.knative.dev",
    "v1alpha1",
    "clusterdomainclaims",
    Cluster,
    [spec]
);

/// ClusterDomainClaimSpec says whose the name is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["namespace"]))]
pub struct ClusterDomainClaimSpec {
    /// Namespace may map the name.
    #[serde(deserialize_with = "null_default")]
    pub namespace: String,
}
