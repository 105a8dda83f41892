//! Decides what a namespace lacks.

use base_controller::{Change, Plan};

use super::observe::Observed;
use super::resources;

/// Makes the account and the map, or makes the map true again.
pub(super) fn plan(observed: &Observed, ca_bundle: &str) -> Plan<()> {
    let mut plan = Plan::default();
    if observed.namespace.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let namespace = observed.namespace.metadata.name.as_deref().unwrap_or_default();
    if !observed.has_account {
        plan.changes.push(Change::create(&resources::make_account(namespace)));
    }
    let wanted = resources::make_ca_map(namespace, ca_bundle);
    match observed.map.as_deref() {
        None => plan.changes.push(Change::create(&wanted)),
        Some(map) if map.data != wanted.data => plan.changes.push(Change::overlay(map, &wanted)),
        Some(_) => {}
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Row, Rows};

    fn planned(row: &Row) -> Plan<()> {
        let observed = Observed {
            namespace: row.one(),
            has_account: !row.all::<k8s_openapi::api::core::v1::ServiceAccount>().is_empty(),
            map: row.all().first().cloned(),
        };
        plan(&observed, "CA")
    }

    #[test]
    fn rows() {
        Rows::load("src/service_account/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }
}
