//! Decides what a Service's Endpoints and EndpointSlices say.

use base_controller::{Change, Plan};
use k8s_openapi::api::core::v1::Service;

use super::observe::Observed;
use super::resources;
use super::slices::{self, Wanted};

/// What has to be written so that a Service's endpoints are those of its Pods.
pub(super) fn plan(observed: &Observed) -> Plan<()> {
    let mut plan = Plan::default();
    match &observed.service {
        None => plan.changes.extend(observed.endpoints.as_deref().map(Change::delete)),
        Some(service) if has_pods(service) => plan.changes = changes(service, observed),
        Some(_) => {}
    }
    plan
}

/// Whether the Service's endpoints are Pods, rather than somebody else's business.
fn has_pods(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let has_selector = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    has_selector && spec.type_.as_deref() != Some("ExternalName") && service.metadata.deletion_timestamp.is_none()
}

fn changes(service: &Service, observed: &Observed) -> Vec<Change> {
    let targets = resources::targets(service, &observed.pods);
    let mut changes = Vec::new();
    changes.extend(resources::change_endpoints(service, &targets, observed.endpoints.as_deref()));
    let wanted = Wanted {
        metadata: resources::slice_metadata(service),
        groups: resources::slice_groups(&targets),
        keeps_placeholder: true,
        newly_ready: resources::ready_since(&targets),
    };
    changes.extend(slices::changes(&wanted, &observed.slices));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};

    fn planned(row: &Row) -> Plan<()> {
        plan(&Observed {
            service: row.all().first().cloned(),
            pods: row.all(),
            endpoints: row.all().first().cloned(),
            slices: row.all(),
        })
    }

    #[test]
    fn rows() {
        Rows::load("src/endpoints/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }
}
