//! Revision: one version of a workload, never changed after it was made.

mod containers;
mod defaults;
mod lifecycle;
#[cfg(test)]
mod tests;
mod types;
mod validation;

pub use lifecycle::{
    ACTIVE, CONTAINER_HEALTHY, REASON_CONTAINER_MISSING, REASON_DEPLOYING, REASON_NOT_OWNED,
    REASON_PROGRESS_DEADLINE_EXCEEDED, REASON_RESOLVING_DIGESTS, RESOURCES_AVAILABLE, container_exiting_message,
    container_missing_message, deployment_condition, exit_code_reason,
};
pub use types::{ContainerStatus, Revision, RevisionSpec, RevisionStatus, RevisionTemplateSpec, RoutingState};
