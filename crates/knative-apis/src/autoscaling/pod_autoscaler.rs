//! PodAutoscaler (PA): asks for as many pods as a revision's traffic needs.
//!
//! The Revision writes the spec, the autoscaler the status. `Ready` is False at zero (`Active` is
//! a dependent here); the Revision copies `Active` as information only.

use crate::annotations::{Autoscaling, autoscaling};
use crate::condition::{Condition, ConditionStatus, ConditionedStatus};
use crate::config::{Autoscaler, Configs};
use crate::field_error::{CURRENT_FIELD, FieldErrors, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::networking::Protocol;
use crate::open_enum::open_enum;
use crate::serde_util::{is_default, null_default};
use crate::validation::{container_concurrency, metadata_with_autoscaling, object_reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The condition that the revision receives traffic and has pods for it.
pub const ACTIVE: &str = "Active";
/// The condition that the initial scale has been reached once.
pub const SCALE_TARGET_INITIALIZED: &str = "ScaleTargetInitialized";
/// The condition that the revision's Services are ready.
pub const SKS_READY: &str = "SKSReady";

const METRIC_ANNOTATION: &str = "autoscaling.knative.dev/metric";
const CLASS_ANNOTATION: &str = "autoscaling.knative.dev/class";

/// PodAutoscaler asks for as many pods as the traffic needs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodAutoscaler {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: PodAutoscalerSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: PodAutoscalerStatus,
}
knative_kind!(
    PodAutoscaler,
    "autoscaling.internal.knative.dev",
    "v1alpha1",
    "podautoscalers",
    Namespaced,
    [spec, status]
);
conditioned!(PodAutoscaler, PodAutoscalerStatus, &[ACTIVE, SCALE_TARGET_INITIALIZED, SKS_READY]);

open_enum! {
    /// Whether a Route leads to the revision; `Unset` is "not known yet".
    Reachability {
        /// A Route leads to it.
        Reachable = "Reachable",
        /// No Route leads to it: its lower bound does not hold.
        Unreachable = "Unreachable",
    }
}

/// PodAutoscalerSpec is what is scaled, and what is known about its traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["protocolType", "scaleTargetRef"]))]
pub struct PodAutoscalerSpec {
    /// ContainerConcurrency is how many requests one pod takes at a time; 0 means any number.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub container_concurrency: i64,
    /// ScaleTargetRef is what has the replicas: the revision's Deployment.
    #[serde(deserialize_with = "null_default")]
    #[schemars(schema_with = "crate::crds::schema::scale_target_reference")]
    pub scale_target_ref: ObjectReference,
    /// Reachability says whether a Route leads to the revision: Reachable, Unreachable or empty.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub reachability: Reachability,
    /// ProtocolType is the application protocol: http1 or h2c.
    #[serde(deserialize_with = "null_default")]
    pub protocol_type: Protocol,
}

/// PodAutoscalerStatus is how many pods there are and should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["metricsServiceName", "serviceName"]))]
pub struct PodAutoscalerStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// ServiceName is the revision's public Service.
    #[serde(deserialize_with = "null_default")]
    pub service_name: String,
    /// MetricsServiceName is the Service whose pods are asked for statistics.
    #[serde(deserialize_with = "null_default")]
    pub metrics_service_name: String,
    /// DesiredScale is how many pods there should be; -1 or absent before the first decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_scale: Option<i32>,
    /// ActualScale is how many pods are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_scale: Option<i32>,
}

impl PodAutoscaler {
    /// Fills in the class and the metric.
    pub fn set_defaults(&mut self, configs: &Configs) {
        let annotations = self.metadata.annotations.get_or_insert_default();
        let class = annotations
            .entry(CLASS_ANNOTATION.to_owned())
            .or_insert_with(|| configs.autoscaler.pod_autoscaler_class.clone())
            .clone();
        annotations.entry(METRIC_ANNOTATION.to_owned()).or_insert_with(|| super::default_metric(&class).to_owned());
    }

    /// What is wrong with it.
    pub fn validate(&self, configs: &Configs) -> FieldErrors {
        metadata_with_autoscaling(&self.metadata, &configs.autoscaler)
            .via_field("metadata")
            .and(self.spec.validate(configs).via_field("spec"))
    }

    /// Which autoscaler serves it.
    pub fn class(&self) -> &str {
        crate::meta::annotation_value(&self.metadata, CLASS_ANNOTATION).unwrap_or(super::KPA)
    }

    /// What it scales on.
    pub fn metric(&self) -> &str {
        match crate::meta::annotation_value(&self.metadata, METRIC_ANNOTATION) {
            Some(metric) => metric,
            None => super::default_metric(self.class()),
        }
    }

    /// What its annotations ask for.
    pub fn annotations(&self) -> Autoscaling {
        autoscaling(crate::meta::annotations(&self.metadata))
    }

    /// Whether no Route leads to the revision.
    pub fn is_unreachable(&self) -> bool {
        self.spec.reachability == Reachability::Unreachable
    }

    /// The least and the most pods (0: no bound). What no Route leads to has no least.
    pub fn scale_bounds(&self, config: &Autoscaler) -> (i32, i32) {
        let asked = self.annotations();
        let min = if self.is_unreachable() { 0 } else { asked.min_scale.unwrap_or(config.min_scale) };
        (min, asked.max_scale.unwrap_or(config.max_scale))
    }

    /// How many pods the revision must have had once to be ready.
    pub fn initial_scale(&self, config: &Autoscaler) -> i32 {
        match self.annotations().initial_scale {
            Some(0) if !config.allow_zero_initial_scale => config.initial_scale,
            Some(scale) => scale,
            None => config.initial_scale,
        }
    }
}

impl PodAutoscalerSpec {
    fn validate(&self, configs: &Configs) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        object_reference(&self.scale_target_ref)
            .via_field("scaleTargetRef")
            .and(container_concurrency(self.container_concurrency, &configs.defaults).via_field("containerConcurrency"))
            .and(self.protocol_type.validate().via_field("protocolType"))
    }
}

impl PodAutoscalerStatus {
    /// Whether the revision is active.
    pub fn is_active(&self) -> bool {
        self.is_true(ACTIVE)
    }

    /// Whether the revision is on its way to being active.
    pub fn is_activating(&self) -> bool {
        self.is_unknown(ACTIVE)
    }

    /// Whether the revision is at zero or on its way there.
    pub fn is_inactive(&self) -> bool {
        self.is_false(ACTIVE)
    }

    /// Whether the initial scale has been reached once.
    pub fn is_scale_target_initialized(&self) -> bool {
        self.is_true(SCALE_TARGET_INITIALIZED)
    }

    /// How long it has been inactive; `None` if it is not.
    pub fn inactive_for(&self, now: Timestamp) -> Option<SignedDuration> {
        self.active_condition_for(ConditionStatus::False, now)
    }

    /// How long it has been active; `None` if it is not.
    pub fn active_for(&self, now: Timestamp) -> Option<SignedDuration> {
        self.active_condition_for(ConditionStatus::True, now)
    }

    /// How long it has been activating; `None` if it is not.
    pub fn activating_for(&self, now: Timestamp) -> Option<SignedDuration> {
        self.active_condition_for(ConditionStatus::Unknown, now)
    }

    fn active_condition_for(&self, status: ConditionStatus, now: Timestamp) -> Option<SignedDuration> {
        let condition = self.condition(ACTIVE).filter(|condition| condition.status == status)?;
        Some(now.duration_since(condition.since()?))
    }

    /// It receives traffic and has pods.
    pub fn mark_active(&mut self, now: Timestamp) {
        self.manage(now).mark_true(ACTIVE);
    }

    /// Requests wait for its pods.
    pub fn mark_activating(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(ACTIVE, reason, message);
    }

    /// It has no pods, or will have none.
    pub fn mark_inactive(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(ACTIVE, reason, message);
    }

    /// The initial scale has been reached.
    pub fn mark_scale_target_initialized(&mut self, now: Timestamp) {
        self.manage(now).mark_true(SCALE_TARGET_INITIALIZED);
    }

    /// Its Services are ready.
    pub fn mark_sks_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(SKS_READY);
    }

    /// Its Services are not ready yet.
    pub fn mark_sks_not_ready(&mut self, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(SKS_READY, "NotReady", message);
    }

    /// Something of that name is there and belongs to somebody else.
    pub fn mark_resource_not_owned(&mut self, kind: &str, name: &str, now: Timestamp) {
        self.mark_inactive("NotOwned", &crate::serving::not_owned_message(kind, name), now);
    }

    /// A child could not be made.
    pub fn mark_resource_failed_creation(&mut self, kind: &str, name: &str, now: Timestamp) {
        let message = format!("Failed to create {kind} {}.", crate::go_text::quote(name));
        self.mark_inactive("FailedCreate", &message, now);
    }
}
