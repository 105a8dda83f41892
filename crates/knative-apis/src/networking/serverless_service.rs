//! ServerlessService (SKS): whether a revision's public Service leads to its pods (`Serve`) or to
//! the activator (`Proxy`).
//!
//! The autoscaler writes the spec; the status says which two Kubernetes Services stand for it.

use super::Protocol;
use crate::condition::{Condition, ConditionStatus, ConditionedStatus, Severity};
use crate::field_error::{CURRENT_FIELD, FieldErrors, invalid_value, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::open_enum::open_enum;
use crate::serde_util::{is_default, null_default};
use crate::validation::{networking_annotations, object_reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The condition that the private Service has ready pods.
pub const ENDPOINTS_POPULATED: &str = "EndpointsPopulated";
/// The condition, information only, that the public Service leads to the activator.
pub const ACTIVATOR_ENDPOINTS_POPULATED: &str = "ActivatorEndpointsPopulated";

/// ServerlessService stands for the two Kubernetes Services of a revision.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServerlessService {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: ServerlessServiceSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: ServerlessServiceStatus,
}
knative_kind!(
    ServerlessService,
    "networking.internal.knative.dev",
    "v1alpha1",
    "serverlessservices",
    Namespaced,
    [spec, status]
);
conditioned!(ServerlessService, ServerlessServiceStatus, &[ENDPOINTS_POPULATED]);

open_enum! {
    /// Where the public Service leads.
    ServerlessServiceMode {
        /// To the pods.
        Serve = "Serve",
        /// To the activator.
        Proxy = "Proxy",
    }
}

/// ServerlessServiceSpec is where the revision's Services should lead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["objectRef", "protocolType"]))]
pub struct ServerlessServiceSpec {
    /// Mode says where the public Service leads: Serve (to the pods) or Proxy (to the activator).
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub mode: ServerlessServiceMode,
    /// ObjectRef is the Deployment whose pods the private Service selects.
    #[serde(deserialize_with = "null_default")]
    #[schemars(schema_with = "crate::crds::schema::object_reference")]
    pub object_ref: ObjectReference,
    /// ProtocolType is the application protocol: http1 or h2c.
    #[serde(deserialize_with = "null_default")]
    pub protocol_type: Protocol,
    /// NumActivators is how many activators stand in front of the revision; 0 means all of them.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub num_activators: i32,
}

/// ServerlessServiceStatus is where they lead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerlessServiceStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// ServiceName is the public Service.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub service_name: String,
    /// PrivateServiceName is the Service that selects the pods.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub private_service_name: String,
}

impl ServerlessService {
    /// What is wrong with it.
    pub fn validate(&self) -> FieldErrors {
        let annotations = crate::meta::annotations(&self.metadata);
        networking_annotations(annotations).via_field("annotations").and(self.spec.validate().via_field("spec"))
    }
}

impl ServerlessServiceSpec {
    fn validate(&self) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        let mut errors = FieldErrors::none();
        match &self.mode {
            ServerlessServiceMode::Serve | ServerlessServiceMode::Proxy => {}
            ServerlessServiceMode::Unset => errors.also(missing_field("mode")),
            ServerlessServiceMode::Other(text) => errors.also(invalid_value(text, "mode")),
        }
        if self.num_activators < 0 {
            errors.also(invalid_value(self.num_activators, "numActivators"));
        }
        errors.also(object_reference(&self.object_ref).via_field("objectRef"));
        errors.and(self.protocol_type.validate().via_field("protocolType"))
    }
}

impl ServerlessServiceStatus {
    /// The pods are ready.
    pub fn mark_endpoints_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(ENDPOINTS_POPULATED);
    }

    /// The pods or what leads to them is not there yet.
    pub fn mark_endpoints_not_ready(&mut self, reason: &str, now: Timestamp) {
        self.manage(now).mark_unknown(ENDPOINTS_POPULATED, reason, "K8s Service is not ready");
    }

    /// Something of that name is there and belongs to somebody else.
    pub fn mark_endpoints_not_owned(&mut self, kind: &str, name: &str, now: Timestamp) {
        let message = format!("Resource {name} of type {kind} is not owned by SKS");
        self.manage(now).mark_false(ENDPOINTS_POPULATED, "NotOwned", &message);
    }

    /// The public Service leads to the activator, or does not.
    pub fn mark_activator_endpoints(&mut self, populated: bool, now: Timestamp) {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.manage(now).set(Condition {
            type_: ACTIVATOR_ENDPOINTS_POPULATED.to_owned(),
            status: if populated { ConditionStatus::True } else { ConditionStatus::False },
            severity: Severity::Info,
            last_transition_time: Some(Time(seconds)),
            reason: "ActivatorEndpointsPopulated".to_owned(),
            message: "Revision is backed by Activator".to_owned(),
        });
    }

    /// How long the public Service has led to the activator; zero if it does not.
    pub fn proxy_for(&self, now: Timestamp) -> SignedDuration {
        match self.condition(ACTIVATOR_ENDPOINTS_POPULATED) {
            Some(condition) if condition.is_true() => {
                condition.since().map_or(SignedDuration::ZERO, |since| now.duration_since(since))
            }
            _ => SignedDuration::ZERO,
        }
    }
}
