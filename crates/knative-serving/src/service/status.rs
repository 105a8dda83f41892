//! Whether the Route of a Service sends traffic where the Service wants it.

use jiff::Timestamp;
use knative_apis::condition::ConditionedStatus;
use knative_apis::serving::v1::service::ROUTES_READY;
use knative_apis::serving::v1::{Configuration, Route, ServiceStatus, TrafficTarget};
use kube::ResourceExt;

/// A Route may be ready with the split of an older Revision: then the Service is not.
pub(super) fn check_migration(
    status: &mut ServiceStatus,
    configuration: &Configuration,
    route: &Route,
    now: Timestamp,
) {
    if status.is_true(ROUTES_READY) && !is_migrated(configuration, route) {
        status.mark_route_not_yet_ready(now);
    }
}

fn is_migrated(configuration: &Configuration, route: &Route) -> bool {
    let latest = &configuration.status.latest_ready_revision_name;
    let wanted = route.spec.traffic.iter().map(|target| {
        let mut target = target.clone();
        if target.configuration_name == configuration.name_any() {
            target.revision_name.clone_from(latest);
            target.configuration_name.clear();
        }
        comparable(target)
    });
    wanted.eq(route.status.traffic.iter().cloned().map(comparable))
}

/// A target without what only a status, or only a spec, says.
fn comparable(target: TrafficTarget) -> TrafficTarget {
    TrafficTarget { url: String::new(), latest_revision: None, percent: Some(target.share()), ..target }
}
