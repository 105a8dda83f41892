//! What a Configuration says when its latest Revision fails.

use base_controller::PlanEvent;
use jiff::Timestamp;
use knative_apis::condition::{ConditionedStatus, READY};
use knative_apis::go_text::quote;
use knative_apis::serving::v1::ConfigurationStatus;

/// The latest Revision failed. The event, if that is news to who reads the status as it `was`.
pub(super) fn mark_failed(
    (was, status): (&ConfigurationStatus, &mut ConfigurationStatus),
    revision: &str,
    message: &str,
    now: Timestamp,
) -> Option<PlanEvent> {
    status.mark_latest_created_failed(revision, message, now);
    let said =
        |status: &ConfigurationStatus| status.condition(READY).map(|ready| (ready.status, ready.message.clone()));
    if said(was) == said(status) {
        return None;
    }
    let revision_text = quote(revision);
    Some(if status.latest_ready_revision_name == revision {
        PlanEvent::warning("LatestReadyFailed", format!("Latest ready revision {revision_text} has failed"))
    } else {
        PlanEvent::warning("LatestCreatedFailed", format!("Latest created revision {revision_text} has failed"))
    })
}
