//! What a Route says: URLs, the split, and what became of its Ingress.

use jiff::Timestamp;
use knative_apis::condition::ConditionedStatus;
use knative_apis::duck::Addressable;
use knative_apis::networking::Visibility;
use knative_apis::serving::not_owned_message;
use knative_apis::serving::v1::route::INGRESS_READY;
use knative_apis::serving::v1::{RouteStatus, TrafficTarget};
use knative_logic::rollout::Rollout;
use knative_logic::traffic::{Assignment, HostError, Hosts, status_traffic};

use super::plan::Draft;

/// The URL of a tag: with the gateway's port, if that is one nobody would guess.
pub(super) fn url(draft: &Draft<'_>, tag: &str) -> Result<String, HostError> {
    let url = draft.hosts.url(tag)?;
    if draft.hosts.visibility(tag)? == Visibility::ClusterLocal {
        return Ok(url);
    }
    Ok(match url.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{}", draft.configs.settings.external_authority(scheme, host)),
        None => url,
    })
}

/// Where the Route is reached from inside.
pub(super) fn address(hosts: &Hosts<'_>) -> Addressable {
    Addressable { url: hosts.local_url(), ..Addressable::default() }
}

/// The split as it is now.
pub(super) fn traffic(
    draft: &Draft<'_>,
    assignment: &Assignment,
    rollout: &Rollout,
) -> Result<Vec<TrafficTarget>, HostError> {
    let mut traffic = status_traffic(assignment, rollout, &draft.hosts)?;
    for target in traffic.iter_mut().filter(|target| !target.url.is_empty()) {
        target.url = url(draft, &target.tag)?;
    }
    Ok(traffic)
}

/// The Ingress of the needed name is somebody else's.
pub(super) fn mark_ingress_not_owned(status: &mut RouteStatus, name: &str, now: Timestamp) {
    status.manage(now).mark_false(INGRESS_READY, "NotOwned", &not_owned_message("Ingress", name));
}
