//! Who has to be told what.

use base_controller::{Finalizer, Plan};
use jiff::Timestamp;
use knative_apis::condition::Conditioned;
use knative_apis::serving::v1::RoutingState;
use kube::ResourceExt;

use super::FINALIZER;
use super::observe::Observed;
use super::resources::{tell_configuration, tell_revision};

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<()> {
    let route = &*observed.route;
    let is_going = route.metadata.deletion_timestamp.is_some();
    let finalizer = if is_going { Finalizer::Remove(FINALIZER) } else { Finalizer::Add(FINALIZER) };
    let mut plan = Plan { finalizer, track: observed.references.clone(), ..Plan::new(()) };
    // What is led to comes first: a Revision that the traffic moves to is not to be without a Route in between.
    let name = route.name_any();
    let revisions = observed.revisions.values().filter_map(|revision| tell_revision(revision, &name, true, now));
    plan.changes.extend(revisions);
    plan.changes.extend(observed.configurations.values().filter_map(|c| tell_configuration(c, &name, true)));
    if is_going || route.is_ready() || route.is_failed() {
        forget(&mut plan, observed, now);
    }
    plan
}

/// Tells those that the Route no longer leads to. Only what counts as active is looked at: the rest is told already.
fn forget(plan: &mut Plan<()>, observed: &Observed, now: Timestamp) {
    let name = observed.route.name_any();
    for revision in &observed.told_revisions {
        if !observed.revisions.contains_key(&revision.name_any()) && revision.routing_state() != RoutingState::Reserve {
            plan.changes.extend(tell_revision(revision, &name, false, now));
        }
    }
    for configuration in &observed.told_configurations {
        if !observed.configurations.contains_key(&configuration.name_any()) {
            plan.changes.extend(tell_configuration(configuration, &name, false));
        }
    }
}
