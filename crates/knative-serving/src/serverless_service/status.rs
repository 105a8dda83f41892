//! The conditions of a ServerlessService from the Endpoints.

use jiff::Timestamp;
use knative_apis::networking::{ServerlessServiceMode, ServerlessServiceStatus};

use super::observe::Observed;
use super::resources::ready_count;

/// Says whether there are ready Pods, and whether the activator is in front of them.
///
/// The Pods count also in Proxy mode: the activator may be there for bursts only.
pub(super) fn mark_endpoints(status: &mut ServerlessServiceStatus, observed: &Observed, now: Timestamp) {
    let has_pods = ready_count(observed.private_endpoints.as_deref()) > 0;
    if has_pods {
        status.mark_endpoints_ready(now);
    } else {
        status.mark_endpoints_not_ready("NoHealthyBackends", now);
    }
    let is_proxied = observed.serverless_service.spec.mode == ServerlessServiceMode::Proxy;
    status.mark_activator_endpoints(!has_pods || is_proxied, now);
}
