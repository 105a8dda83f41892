//! Events live for an hour after they were last told.
//!
//! In Kubernetes the store's leases do that. Here a controller does, with a cache of nothing but each Event's name and time.

mod aged;

use std::sync::Arc;
use std::time::Duration;

use base_controller::writers::Write;
use base_controller::{Change, Context, Controller, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Event;
use kube::api::ApiResource;
use serde::Serialize;

use aged::Aged;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "event-ttl-controller";

/// How long an Event lives, in seconds.
const TTL_S: i64 = 60 * 60;

/// Removes old Events.
struct EventTtl {
    events: Informer<Aged>,
    resource: ApiResource,
}

/// The facts about one Event.
#[derive(Debug, Serialize)]
struct Observed {
    event: Arc<Aged>,
    #[serde(skip)]
    resource: ApiResource,
}

impl Reconciler for EventTtl {
    type Object = Aged;
    type Observed = Observed;
    type Status = ();

    const WRITES: &'static [Write] = &[Write::deletion("", "Event")];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.events.get(key).map(|event| Observed { event, resource: self.resource.clone() })
    }

    fn object<'a>(&self, _observed: &'a Observed) -> Option<&'a Arc<Aged>> {
        None
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<()> {
        plan(observed, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let resource = ApiResource::erase::<Event>(&());
    let events = context.informers.of_resource::<Aged>(resource.clone(), Scope::all());
    Controller::new(NAME, EventTtl { events: events.clone(), resource }, &events, context)
        // Deletions are in no hurry, and there may be very many at once: they leave the server to others.
        .with_workers(2)
        .start();
}

fn plan(observed: &Observed, now: Timestamp) -> Plan<()> {
    let mut plan = Plan::default();
    let due = observed.event.last_told().and_then(|told| told.checked_add(SignedDuration::from_secs(TTL_S)).ok());
    match due {
        Some(due) if due > now => plan.again = Some(due.duration_since(now).unsigned_abs() + Duration::from_secs(1)),
        Some(_) => plan.changes.push(Change::delete_of(observed.resource.clone(), &*observed.event)),
        // Without any time it is as if told now.
        None => plan.again = Some(Duration::from_secs(TTL_S.unsigned_abs())),
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(event: Value, now: &str) -> Plan<()> {
        let event = Arc::new(serde_json::from_value(event).unwrap());
        plan(&Observed { event, resource: ApiResource::erase::<Event>(&()) }, now.parse().unwrap())
    }

    #[test]
    fn an_event_goes_an_hour_after_it_was_last_told() {
        let event = json!({
            "metadata": {"name": "e", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b"}},
            "lastTimestamp": "2026-01-01T00:30:00Z", "message": "long",
        });
        let early = planned(event.clone(), "2026-01-01T01:15:00Z");
        assert_eq!((early.changes.len(), early.again), (0, Some(Duration::from_secs(15 * 60 + 1))));
        assert_eq!(planned(event, "2026-01-01T01:30:00Z").changes.len(), 1);
        let series = json!({
            "metadata": {"name": "e", "creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": null,
            "eventTime": "2026-01-01T00:00:00.000000Z", "series": {"lastObservedTime": "2026-01-01T00:59:00.000000Z"},
        });
        assert!(planned(series, "2026-01-01T01:30:00Z").changes.is_empty());
    }
}
