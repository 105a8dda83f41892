//! The two Services, and where the public one leads.

use base_controller::{Change, Plan};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints, Service};
use knative_apis::go_text::quote;
use knative_apis::meta::owner;
use knative_apis::networking::{ENDPOINTS_POPULATED, ServerlessServiceMode, ServerlessServiceStatus};
use knative_logic::names;
use kube::ResourceExt;

use super::observe::Observed;
use super::resources::{
    choose, make_private_service, make_public_endpoints, make_public_service, ready_count, with_serving_ports,
};
use super::status;
use crate::json;
use crate::status::{begin, creation_failed, end, update_failed};

/// Whether the rest can be done now.
#[derive(PartialEq)]
enum Go {
    On,
    Stop,
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<ServerlessServiceStatus> {
    let sks = &*observed.serverless_service;
    let mut plan = Plan::new(begin(sks, now));
    plan.track.clone_from(&observed.references);
    if let Some(selector) = &observed.selector {
        let name = sks.name_any();
        let private = make_private_service(sks, selector);
        if plan_service(&mut plan, observed, (observed.private_service.as_deref(), private), now) == Go::On {
            plan.status.private_service_name = names::private_service(&name);
            let public = make_public_service(sks);
            if plan_service(&mut plan, observed, (observed.public_service.as_deref(), public), now) == Go::On {
                plan.status.service_name = name;
                plan_endpoints(&mut plan, observed, now);
            }
        }
    }
    end(sks, &mut plan.status);
    plan
}

/// Makes a Service, or makes its ports and selector what they should be; the rest of it is the cluster's.
fn plan_service(
    plan: &mut Plan<ServerlessServiceStatus>,
    observed: &Observed,
    (existing, desired): (Option<&Service>, Service),
    now: Timestamp,
) -> Go {
    let name = desired.name_any();
    let what = format!("Service {}", quote(&name));
    match existing {
        None => {
            let refused = creation_failed(ENDPOINTS_POPULATED, &what);
            plan.changes.push(Change::create(&desired).or_condition(refused));
        }
        Some(existing) if !owner::is_controlled_by(&existing.metadata, &observed.serverless_service.metadata) => {
            plan.status.mark_endpoints_not_owned("Service", &name, now);
            return Go::Stop;
        }
        Some(existing) => {
            let fields = serde_json::json!({ "spec": desired.spec });
            let fields = json::replacing(existing, &fields, &[&["spec", "selector"]]);
            let refused = update_failed(ENDPOINTS_POPULATED, &what);
            plan.changes.extend(json::change(existing, fields).map(|change| change.or_condition(refused)));
        }
    }
    Go::On
}

fn plan_endpoints(plan: &mut Plan<ServerlessServiceStatus>, observed: &Observed, now: Timestamp) {
    let sks = &*observed.serverless_service;
    let Some(activator) = observed.activator_endpoints.as_deref() else {
        return plan.status.mark_endpoints_not_ready("CreatingPublicEndpoints", now);
    };
    let subsets = with_serving_ports(sks, &source(observed, activator));
    let name = sks.name_any();
    let what = format!("Endpoints {}", quote(&name));
    match observed.public_endpoints.as_deref() {
        None => {
            let refused = creation_failed(ENDPOINTS_POPULATED, &what);
            plan.changes.push(Change::create(&make_public_endpoints(sks, subsets)).or_condition(refused));
        }
        Some(existing) if !owner::is_controlled_by(&existing.metadata, &sks.metadata) => {
            return plan.status.mark_endpoints_not_owned("Endpoints", &name, now);
        }
        Some(existing) => {
            let refused = update_failed(ENDPOINTS_POPULATED, &what);
            let change = json::change(existing, serde_json::json!({ "subsets": subsets }));
            plan.changes.extend(change.map(|change| change.or_condition(refused)));
        }
    }
    status::mark_endpoints(&mut plan.status, observed, now);
}

/// Where the public Service leads: never to nothing if there is anything.
fn source(observed: &Observed, activator: &Endpoints) -> Vec<EndpointSubset> {
    let sks = &*observed.serverless_service;
    let is_proxied =
        sks.spec.mode != ServerlessServiceMode::Serve || ready_count(observed.private_endpoints.as_deref()) == 0;
    let activators = activator.subsets.as_deref().unwrap_or_default();
    if is_proxied && ready_count(Some(activator)) > 0 {
        let count = usize::try_from(sks.spec.num_activators).unwrap_or_default();
        return choose(activators, &sks.name_any(), count);
    }
    let private = observed.private_endpoints.as_deref();
    private.and_then(|endpoints| endpoints.subsets.clone()).unwrap_or_default()
}
