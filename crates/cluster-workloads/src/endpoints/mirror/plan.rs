//! Decides what the copies of Endpoints say.

use std::collections::BTreeMap;

use base_controller::{Change, Plan};
use k8s_openapi::api::core::v1::{Endpoints, Service};

use super::observe::Observed;
use super::resources;
use crate::endpoints::slices::{self, Wanted};

const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// What has to be written so that the copies are true, or gone.
pub(super) fn plan(observed: &Observed) -> Plan<()> {
    let changes = match observed.endpoints.as_deref().filter(|endpoints| is_copied(endpoints, observed)) {
        None => observed.slices.iter().map(|slice| Change::delete(&**slice)).collect(),
        Some(endpoints) => {
            let wanted = Wanted {
                metadata: resources::slice_metadata(endpoints),
                groups: resources::slice_groups(endpoints),
                keeps_placeholder: false,
                newly_ready: BTreeMap::new(),
            };
            slices::changes(&wanted, &observed.slices)
        }
    };
    Plan { changes, ..Plan::default() }
}

fn is_copied(endpoints: &Endpoints, observed: &Observed) -> bool {
    let meta = &endpoints.metadata;
    let is_skipped = meta.labels.as_ref().is_some_and(|labels| labels.get(SKIP).is_some_and(|skip| skip == "true"));
    let is_election = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER));
    let is_ending = meta.deletion_timestamp.is_some();
    !is_skipped && !is_election && !is_ending && observed.service.as_deref().is_some_and(has_no_selector)
}

fn has_no_selector(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_none_or(BTreeMap::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};

    fn planned(row: &Row) -> Plan<()> {
        let (endpoints, service) = (row.all().first().cloned(), row.all().first().cloned());
        plan(&Observed { endpoints, service, slices: row.all() })
    }

    #[test]
    fn rows() {
        Rows::load("src/endpoints/mirror/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }
}
