//! What a PodAutoscaler says about its Services. What it says about scale is `knative_logic::scale::status`.

use jiff::Timestamp;
use knative_apis::autoscaling::PodAutoscalerStatus;
use knative_apis::condition::{Conditioned, ConditionedStatus, READY};
use knative_apis::networking::ServerlessService;

/// Copies what the ServerlessService says.
pub(super) fn propagate(status: &mut PodAutoscalerStatus, sks: &ServerlessService, now: Timestamp) {
    status.service_name.clone_from(&sks.status.service_name);
    if sks.is_ready() {
        status.mark_sks_ready(now);
    } else {
        let message = sks.status.condition(READY).map(|ready| ready.message.as_str()).unwrap_or_default();
        status.mark_sks_not_ready(message, now);
    }
}
