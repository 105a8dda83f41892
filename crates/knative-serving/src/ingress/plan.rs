//! The status of an Ingress; nothing else is written.

use base_controller::Plan;
use jiff::Timestamp;
use knative_apis::networking::IngressStatus;

use super::observe::Observed;
use super::status;
use crate::settings::Settings;
use crate::status::{begin, end};

/// Decides.
pub(super) fn plan(observed: &Observed, settings: &Settings, now: Timestamp) -> Plan<IngressStatus> {
    let ingress = &*observed.ingress;
    let mut plan = Plan::new(begin(ingress, now));
    status::mark(&mut plan.status, observed, settings, now);
    end(ingress, &mut plan.status);
    plan
}
