//! What a Route says: URLs, the split, and what became of its Ingress.

use jiff::Timestamp;
use knative_apis::condition::ConditionedStatus;
use knative_apis::duck::Addressable;
use knative_apis::networking::Visibility;
use knative_apis::serving::not_owned_message;
use knative_apis::serving::v1::route::INGRESS_READY;
use knative_apis::serving::v1::{RouteStatus, TrafficTarget};
use knative_logic::rollout::Rollout;
use knative_logic::traffic::{Assignment, HostError, status_traffic};

use super::plan::Draft;

/// The URL of a tag: with `https` if its host is secured, and with the gateway's port, if that is one nobody would guess.
pub(super) fn url(draft: &Draft<'_>, tag: &str) -> Result<String, HostError> {
    let (url, visibility) = (draft.hosts.url(tag)?, draft.hosts.visibility(tag)?);
    let host = draft.hosts.host(tag, &visibility)?;
    match (visibility == Visibility::ClusterLocal, draft.secured.contains(&host)) {
        (true, true) => return Ok(format!("https://{host}")),
        (true, false) => return Ok(url),
        (false, true) => return Ok(format!("https://{}", draft.configs.settings.external_tls_authority(&host))),
        (false, false) => {}
    }
    Ok(match url.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{}", draft.configs.settings.external_authority(scheme, host)),
        None => url,
    })
}

/// Where the Route is reached from inside.
pub(super) fn address(draft: &Draft<'_>) -> Addressable {
    let url = draft.hosts.local_url();
    let secured = url.strip_prefix("http://").filter(|host| draft.secured.contains(*host));
    let url = secured.map(|host| format!("https://{host}")).unwrap_or(url);
    Addressable { url, ..Addressable::default() }
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
