//! What the Configuration and the Route of a Service should be, and what is known about them.

use base_controller::{Key, ObjectRef, Plan};
use jiff::Timestamp;
use knative_apis::condition::Conditioned;
use knative_apis::go_text::quote;
use knative_apis::meta::owner;
use knative_apis::serving::v1::service::{CONFIGURATIONS_READY, ROUTES_READY};
use knative_apis::serving::v1::{Configuration, Revision, Route, Service, ServiceStatus};
use knative_apis::validation::semantically_equal;
use kube::ResourceExt;

use super::observe::Observed;
use super::resources::{make_configuration, make_route};
use super::status;
use crate::configuration::is_current;
use crate::json;
use crate::status::{begin, create, end, update};

/// The places that a Service means wholly in its children.
const WHOLE: &[&[&str]] = &[&["spec"], &["metadata", "labels"], &["metadata", "annotations"]];

/// Whether the rest can be done now.
#[derive(PartialEq)]
enum Go {
    On,
    Stop,
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<ServiceStatus> {
    let service = &*observed.service;
    let mut plan = Plan::new(begin(service, now));
    plan.track = references(service);
    if plan_configuration(&mut plan, observed, now) == Go::On && name_is_free(&mut plan, observed, now) == Go::On {
        plan_route(&mut plan, observed, now);
    }
    end(service, &mut plan.status);
    plan
}

/// Objects of these names wake the Service also while they are somebody else's.
fn references(service: &Service) -> Vec<ObjectRef> {
    let key = Key::of(service);
    let named = template_name(service).map(|name| ObjectRef::new::<Revision>(Key::new(key.namespace(), name)));
    let children = [ObjectRef::new::<Configuration>(key.clone()), ObjectRef::new::<Route>(key.clone())];
    children.into_iter().chain(named).collect()
}

fn template_name(service: &Service) -> Option<&str> {
    service.spec.template.metadata.name.as_deref().filter(|name| !name.is_empty())
}

fn plan_configuration(plan: &mut Plan<ServiceStatus>, observed: &Observed, now: Timestamp) -> Go {
    let service = &*observed.service;
    let name = service.name_any();
    let what = format!("Configuration {}", quote(&name));
    let desired = make_configuration(service, observed.configuration.as_deref());
    let is_reconciled = match observed.configuration.as_deref() {
        None => {
            plan.changes.push(create(&desired, CONFIGURATIONS_READY, &what));
            false
        }
        Some(existing) if !owner::is_controlled_by(&existing.metadata, &service.metadata) => {
            plan.status.mark_configuration_not_owned(&name, now);
            return Go::Stop;
        }
        Some(existing) => {
            let change = json::change(existing, json::replacing(existing, &desired, WHOLE));
            plan.changes.extend(change.map(|change| update(change, CONFIGURATIONS_READY, &what)));
            existing.is_observed() && semantically_equal(&existing.spec, &desired.spec)
        }
    };
    match observed.configuration.as_deref().filter(|_| is_reconciled) {
        Some(configuration) => plan.status.propagate_configuration(&configuration.status, now),
        None => plan.status.mark_configuration_not_reconciled(now),
    }
    if is_reconciled || template_name(service).is_none() { Go::On } else { Go::Stop }
}

/// A template that names its Revision moves no traffic while that name is somebody else's.
fn name_is_free(plan: &mut Plan<ServiceStatus>, observed: &Observed, now: Timestamp) -> Go {
    let (Some(name), Some(named)) = (template_name(&observed.service), &observed.named) else { return Go::On };
    match &observed.configuration {
        Some(configuration) if is_current(named, configuration) => Go::On,
        _ => {
            plan.status.mark_revision_name_taken(name, now);
            Go::Stop
        }
    }
}

fn plan_route(plan: &mut Plan<ServiceStatus>, observed: &Observed, now: Timestamp) {
    let service = &*observed.service;
    let name = service.name_any();
    let what = format!("Route {}", quote(&name));
    let desired = make_route(service);
    match observed.route.as_deref() {
        None => {
            plan.changes.push(create(&desired, ROUTES_READY, &what));
            plan.status.mark_route_not_reconciled(now);
        }
        Some(existing) if !owner::is_controlled_by(&existing.metadata, &service.metadata) => {
            plan.status.mark_route_not_owned(&name, now);
        }
        Some(existing) => {
            let change = json::change(existing, json::replacing(existing, &desired, WHOLE));
            plan.changes.extend(change.map(|change| update(change, ROUTES_READY, &what)));
            if existing.is_observed() && semantically_equal(&existing.spec, &desired.spec) {
                plan.status.propagate_route(&existing.status, now);
            } else {
                plan.status.mark_route_not_reconciled(now);
            }
            if let Some(configuration) = observed.configuration.as_deref() {
                status::check_migration(&mut plan.status, configuration, existing, now);
            }
        }
    }
}
