//! The PodAutoscaler of a Revision.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use knative_apis::autoscaling::{PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus, Reachability};
use knative_apis::condition::ConditionedStatus;
use knative_apis::serving::v1::revision::{CONTAINER_HEALTHY, RESOURCES_AVAILABLE};
use knative_apis::serving::v1::{Revision, RevisionStatus, RoutingState};
use knative_logic::names;
use kube::ResourceExt;

use super::{make_metadata, with_autoscaling};

/// The PodAutoscaler of `revision`, whose status is about to be `status`.
pub(crate) fn make_pod_autoscaler(
    revision: &Revision,
    status: &RevisionStatus,
    deployment: Option<&Deployment>,
) -> PodAutoscaler {
    let name = revision.name_any();
    let target = ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some("Deployment".to_owned()),
        name: Some(names::deployment(&name)),
        ..ObjectReference::default()
    };
    PodAutoscaler {
        metadata: make_metadata(revision, name, with_autoscaling(revision)),
        spec: PodAutoscalerSpec {
            container_concurrency: revision.spec.concurrency_limit(),
            scale_target_ref: target,
            reachability: reachability(revision, status, deployment),
            protocol_type: revision.protocol(),
        },
        status: PodAutoscalerStatus::default(),
    }
}

/// A Revision that cannot get a single Pod ready keeps none, whatever Routes say: its lower bound does not hold.
fn reachability(revision: &Revision, status: &RevisionStatus, deployment: Option<&Deployment>) -> Reachability {
    let is_failing = status.is_false(RESOURCES_AVAILABLE) || status.is_false(CONTAINER_HEALTHY);
    if is_failing && deployment.is_some_and(wants_pods_and_has_none) {
        return Reachability::Unreachable;
    }
    match revision.routing_state() {
        RoutingState::Active => Reachability::Reachable,
        RoutingState::Reserve => Reachability::Unreachable,
        _ => Reachability::Unset,
    }
}

fn wants_pods_and_has_none(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or_default();
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    wanted > 0 && ready == 0
}
