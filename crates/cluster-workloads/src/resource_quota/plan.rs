//! Counts what of a ResourceQuota is used.

use std::sync::Arc;
use std::time::Duration;

use base_controller::Plan;
use base_quota::amounts::Amounts;
use base_quota::quantity::Quantity;
use base_quota::scope::takes;
use base_quota::usage::{Counted, overdue_at};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuotaStatus;
use serde::Serialize;
use serde_json::Value;

use super::observe::Observed;
use super::status;

/// The quota's status. A Pod that should be gone stops counting at its time, though nothing happens then.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<Option<ResourceQuotaStatus>> {
    let quota = json(&observed.quota);
    let hard = Amounts::of(&quota["spec"]["hard"]);
    let mut count = Count { quota: &quota, hard: &hard, used: Amounts::default(), now };
    let pods: Vec<Value> = observed.pods.iter().map(json).collect();
    count.add(Counted::PODS, &pods);
    count.add(Counted::SERVICES, &observed.services.iter().map(json).collect::<Vec<_>>());
    count.add(Counted::CLAIMS, &observed.claims.iter().map(json).collect::<Vec<_>>());
    for (name, number) in &observed.numbers {
        count.add_number(name, *number);
    }
    let again = pods.iter().filter_map(overdue_at).filter(|at| *at >= now).min();
    // From that instant on it still counts; it is over right after.
    let again = again.map(|at| at.duration_since(now).unsigned_abs() + Duration::from_millis(1));
    Plan { again, ..Plan::new(Some(status::of(&observed.quota, &count.used))) }
}

/// Whether an object counts for something else in a quota than before, or will at another time.
pub(super) fn counts_otherwise(quota: &Value, counted: Counted<'_>, [old, new]: [&Value; 2], now: Timestamp) -> bool {
    let counts =
        |object: &Value| (takes(quota, counted, object).then(|| counted.usage(object, now)), overdue_at(object));
    counts(old) != counts(new)
}

pub(super) fn json<T: Serialize>(object: &Arc<T>) -> Value {
    serde_json::to_value(&**object).unwrap_or_default()
}

struct Count<'a> {
    quota: &'a Value,
    hard: &'a Amounts,
    used: Amounts,
    now: Timestamp,
}

impl Count<'_> {
    /// Adds what objects count for.
    fn add(&mut self, counted: Counted<'_>, objects: &[Value]) {
        for name in self.hard.names().filter(|name| counted.is_for(name)) {
            self.used.set(name, Quantity::from_units(0));
        }
        for object in objects.iter().filter(|object| takes(self.quota, counted, object)) {
            let usage = counted.usage(object, self.now);
            self.used.add(&usage.only(|name| self.hard.get(name).is_some()));
        }
    }

    /// Adds objects of which only the number counts; no scope takes such.
    fn add_number(&mut self, name: &str, number: usize) {
        let Some(counted) = Counted::by_number(name) else { return };
        if matches!(counted, Counted::PODS | Counted::SERVICES | Counted::CLAIMS) {
            return;
        }
        let number = if takes(self.quota, counted, &Value::Null) { number } else { 0 };
        self.used.set(name, Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rows;
    use serde_json::json;

    #[test]
    fn rows() {
        Rows::load("src/resource_quota/testdata/plan.yaml").check(|row| {
            let observed = Observed {
                quota: row.one(),
                pods: row.all(),
                services: row.all(),
                claims: row.all(),
                numbers: serde_json::from_value(row.config.clone()).unwrap_or_default(),
            };
            serde_json::to_value(plan(&observed, row.now)).unwrap()
        });
    }

    #[test]
    fn only_a_change_of_what_counts_matters() {
        let quota = json!({"spec": {"hard": {"pods": "1"}, "scopes": ["NotTerminating"]}});
        let pod = |patch: Value| {
            let base = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
            base_controller::overlay::overlay(&base, &patch)
        };
        let (now, running) = (Timestamp::UNIX_EPOCH, pod(json!({"status": {"phase": "Running"}})));
        let matters = |new: Value| counts_otherwise(&quota, Counted::PODS, [&running, &new], now);
        assert!(!matters(pod(json!({"status": {"phase": "Running", "podIP": "10.0.0.1"}}))));
        assert!(matters(pod(json!({"status": {"phase": "Succeeded"}}))), "it counts no more");
        assert!(matters(pod(json!({"spec": {"activeDeadlineSeconds": 5}}))), "it is not of the scope");
        assert!(matters(pod(json!({"spec": {"containers": [{"name": "c", "resources": null}]}}))), "it asks for less");
        let ending = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
        assert!(matters(pod(json!({"metadata": ending}))), "it will not count for ever");
    }
}
