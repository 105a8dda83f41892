//! The conditions of an Ingress from what the gateways serve.

use jiff::Timestamp;
use knative_apis::networking::IngressStatus;

use super::observe::Observed;
use crate::settings::Settings;

/// The table is in the API as soon as the Ingress is; it is ready when every gateway (and at least one) serves exactly it.
pub(super) fn mark(status: &mut IngressStatus, observed: &Observed, settings: &Settings, now: Timestamp) {
    status.mark_network_configured(now);
    let is_current = |served: &Option<String>| served.as_ref() == Some(&observed.version);
    if !observed.served.is_empty() && observed.served.values().all(is_current) {
        let public = vec![settings.public_load_balancer.clone()];
        let private = vec![settings.private_load_balancer.clone()];
        status.mark_load_balancer_ready(public, private, now);
    } else {
        status.mark_load_balancer_not_ready(now);
    }
}
