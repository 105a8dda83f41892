//! Metric: what is measured of a revision, and over which windows.

use crate::annotations::{Aggregation, autoscaling};
use crate::condition::{Condition, ConditionedStatus, READY};
use crate::config::Configs;
use crate::field_error::{FieldErrors, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::serde_util::{is_default, null_default};
use crate::validation::metadata_with_autoscaling;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Metric says what to measure of a revision.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metric {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: MetricSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: MetricStatus,
}
knative_kind!(Metric, "autoscaling.internal.knative.dev", "v1alpha1", "metrics", Namespaced, [spec, status]);
// Knative names Ready itself as the dependent; a set does not depend on its own sum.
conditioned!(Metric, MetricStatus, &[]);

/// MetricSpec is what to measure, and over which windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["panicWindow", "scrapeTarget", "stableWindow"]))]
pub struct MetricSpec {
    /// StableWindow is the window of the average in stable mode, in nanoseconds.
    #[serde(rename = "stableWindow", deserialize_with = "null_default")]
    pub stable_window_ns: i64,
    /// PanicWindow is the window of the average in panic mode, in nanoseconds.
    #[serde(rename = "panicWindow", deserialize_with = "null_default")]
    pub panic_window_ns: i64,
    /// ScrapeTarget is the Service whose pods are asked; empty when the activator sees every request.
    #[serde(deserialize_with = "null_default")]
    pub scrape_target: String,
}

impl MetricSpec {
    /// The window of the average in stable mode.
    pub fn stable_window(&self) -> SignedDuration {
        SignedDuration::from_nanos(self.stable_window_ns)
    }

    /// The window of the average in panic mode.
    pub fn panic_window(&self) -> SignedDuration {
        SignedDuration::from_nanos(self.panic_window_ns)
    }
}

/// MetricStatus is whether it is being measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MetricStatus {
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

impl Metric {
    /// How samples are averaged.
    pub fn aggregation(&self) -> Aggregation {
        autoscaling(crate::meta::annotations(&self.metadata)).aggregation.unwrap_or_default()
    }

    /// What is wrong with it.
    pub fn validate(&self, configs: &Configs) -> FieldErrors {
        let errors = metadata_with_autoscaling(&self.metadata, &configs.autoscaler).via_field("metadata");
        if is_default(&self.spec) {
            return errors.and(missing_field("spec"));
        }
        errors
    }
}

impl MetricStatus {
    /// It is being measured.
    pub fn mark_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_true(READY);
    }

    /// There is nothing to measure yet.
    pub fn mark_not_ready(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(READY, reason, message);
    }

    /// Measuring failed.
    pub fn mark_failed(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(READY, reason, message);
    }
}
