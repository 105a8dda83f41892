//! The conditions of a Revision: whether its pods could be had, and whether they live.

use super::RevisionStatus;
use crate::autoscaling::PodAutoscalerStatus;
use crate::condition::{Condition, ConditionManager, ConditionSet, ConditionedStatus, READY};
use crate::go_text::quote;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

/// The condition that the pods could be made and scheduled.
pub const RESOURCES_AVAILABLE: &str = "ResourcesAvailable";
/// The condition that the containers could be started and live.
pub const CONTAINER_HEALTHY: &str = "ContainerHealthy";
/// The condition, information only, that the Revision receives traffic.
pub const ACTIVE: &str = "Active";

/// An image could not be found.
pub const REASON_CONTAINER_MISSING: &str = "ContainerMissing";
/// The images' digests are being looked up.
pub const REASON_RESOLVING_DIGESTS: &str = "ResolvingDigests";
/// The pods are being made.
pub const REASON_DEPLOYING: &str = "Deploying";
/// A child of the needed name belongs to somebody else.
pub const REASON_NOT_OWNED: &str = "NotOwned";
/// The pods were not ready in time.
pub const REASON_PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// The reason for a container that exited.
pub fn exit_code_reason(exit_code: i32) -> String {
    format!("ExitCode{exit_code}")
}

/// The message for a container that exited with a termination message.
pub fn container_exiting_message(message: &str) -> String {
    format!("Container failed with: {message}")
}

/// The message for an image that could not be found.
pub fn container_missing_message(image: &str, message: &str) -> String {
    format!("Unable to fetch image {}: {message}", quote(image))
}

impl RevisionStatus {
    /// The pods could be made.
    pub fn mark_resources_available(&mut self, now: Timestamp) {
        self.manage(now).mark_true(RESOURCES_AVAILABLE);
    }

    /// The pods cannot be made.
    pub fn mark_resources_unavailable(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(RESOURCES_AVAILABLE, reason, message);
    }

    /// The pods are being made.
    pub fn mark_resources_unknown(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(RESOURCES_AVAILABLE, reason, message);
    }

    /// The containers live.
    pub fn mark_container_healthy(&mut self, now: Timestamp) {
        self.manage(now).mark_true(CONTAINER_HEALTHY);
    }

    /// A container does not live.
    pub fn mark_container_unhealthy(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(CONTAINER_HEALTHY, reason, message);
    }

    /// The containers are being started.
    pub fn mark_container_unknown(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(CONTAINER_HEALTHY, reason, message);
    }

    /// Whether a request must wake the Revision up first.
    pub fn is_activation_required(&self) -> bool {
        self.condition(ACTIVE).is_some_and(|condition| !condition.is_true())
    }

    /// Copies what the Deployment says about its progress.
    pub fn propagate_deployment(&mut self, deployment: &DeploymentStatus, now: Timestamp) {
        let ready = deployment_condition(deployment, now);
        self.manage(now).copy(RESOURCES_AVAILABLE, Some(&ready));
    }

    /// Copies what the PodAutoscaler says about scale and activity.
    pub fn propagate_autoscaler(&mut self, autoscaler: &PodAutoscalerStatus, now: Timestamp) {
        let known = |scale: Option<i32>| scale.filter(|scale| *scale >= 0);
        self.actual_replicas = known(autoscaler.actual_scale);
        self.desired_replicas = known(autoscaler.desired_scale);

        let failed = self.is_false(RESOURCES_AVAILABLE) || self.is_false(CONTAINER_HEALTHY);
        let Some(ready) = autoscaler.condition(READY) else {
            self.manage(now).mark_unknown(ACTIVE, REASON_DEPLOYING, "");
            if !failed {
                self.mark_resources_unknown(REASON_DEPLOYING, "", now);
            }
            return;
        };
        self.propagate_initialization(autoscaler, failed, now);
        let timed_out = ready.is_false() && !autoscaler.is_scale_target_initialized();
        if timed_out && !failed && !autoscaler.service_name.is_empty() {
            self.mark_resources_unavailable(REASON_PROGRESS_DEADLINE_EXCEEDED, "Initial scale was never achieved", now);
        }
        self.manage(now).copy(ACTIVE, Some(ready));
    }

    /// The initial scale, once reached, proves that pods can be made and live.
    fn propagate_initialization(&mut self, autoscaler: &PodAutoscalerStatus, failed: bool, now: Timestamp) {
        let initialized = autoscaler.is_scale_target_initialized();
        if initialized && !failed {
            self.mark_resources_available(now);
            self.mark_container_healthy(now);
        }
        let deploying = autoscaler.service_name.is_empty() || !initialized;
        if deploying && self.is_true(RESOURCES_AVAILABLE) {
            self.mark_resources_unknown(REASON_DEPLOYING, "", now);
        }
    }
}

const PROGRESSING: &str = "Progressing";
const REPLICA_SET_READY: &str = "ReplicaSetReady";

/// What a Deployment's conditions say as one `Ready` condition: it progresses and its ReplicaSet
/// can make pods.
pub fn deployment_condition(deployment: &DeploymentStatus, now: Timestamp) -> Condition {
    let set = ConditionSet::living(&[PROGRESSING, REPLICA_SET_READY]);
    let mut conditions = Vec::new();
    let mut manager = ConditionManager::new(set, &mut conditions, now);
    manager.initialize().mark_true(REPLICA_SET_READY).mark_unknown(PROGRESSING, REASON_DEPLOYING, "");
    for type_ in ["Progressing", "ReplicaFailure"] {
        for condition in deployment.conditions.iter().flatten().filter(|c| c.type_.as_deref() == Some(type_)) {
            copy_deployment_condition(&mut manager, condition);
        }
    }
    manager.get(READY).cloned().unwrap_or_default()
}

fn copy_deployment_condition(manager: &mut ConditionManager<'_>, condition: &DeploymentCondition) {
    let reason = condition.reason.as_deref().unwrap_or_default();
    let message = condition.message.as_deref().unwrap_or_default();
    let is_failure = condition.type_.as_deref() == Some("ReplicaFailure");
    let target = if is_failure { REPLICA_SET_READY } else { PROGRESSING };
    match (condition.status.as_deref().unwrap_or_default(), is_failure) {
        ("True", false) | ("False", true) => manager.mark_true(target),
        ("False", false) | ("True", true) => manager.mark_false(target, reason, message),
        _ => manager.mark_unknown(target, reason, message),
    };
}
