//! Why a Service is as it is: what is not ready and why, down to the container's last words; what scales its Revisions, and to what.
//!
//! ```text
//! who asks ─► their client ─► Reading (objects, Events, logs) ─┐
//!                  running controllers (last outcome) ─────────┼─► Explanation
//!                  running autoscaler (last decision) ─────────┘
//! ```
//! Objects are read by the client of whoever asks, so that nobody learns here what they may not read; what they are refused is named
//! instead. What only this process knows, the outcome of a reconcile and the autoscaler's last decision, is told of objects that were read.
//!
//! Nothing is changed, and what is read is bounded: [`MAX_REVISIONS`], [`MAX_PODS`], [`MAX_EVENTS`], [`MAX_LOG_LINES`].

mod pods;
mod reading;
mod report;
mod scaling;
mod troubles;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::explain::Explain;
use base_controller::{Context, GroupKind, Key};
use base_rt::{Clock, watch};
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::condition::{ConditionedStatus, READY};
use knative_apis::config::Autoscaler;
use knative_apis::networking::ServerlessService;
use knative_apis::serving::v1::{Configuration, Revision, Route, Service};
use kube::{Client, Resource};
use serde_json::Value;

use reading::Reading;
pub use report::{
    ContainerTrouble, Explanation, Finding, Measured, Outcome, RevisionReport, Scaling, TrafficShare, WarningEvent,
};

/// Revisions of a Service that are looked at: those with traffic, the latest, then the newest.
pub const MAX_REVISIONS: usize = 16;
/// Pods of a Revision that are looked at.
pub const MAX_PODS: usize = 100;
/// Warnings of the namespace that are looked through for those about the Service.
pub const MAX_EVENTS: u32 = 500;
/// A container's last lines that are shown.
pub const MAX_LOG_LINES: i64 = 10;

/// Explains Services from the running controllers. Cheap to clone.
#[derive(Clone)]
pub struct Explainer {
    controllers: Explain,
    autoscaler: watch::Receiver<Arc<Autoscaler>>,
    clock: Clock,
}

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explainer").field("controllers", &self.controllers).finish_non_exhaustive()
    }
}

impl Explainer {
    pub(crate) fn new(context: &Context, autoscaler: watch::Receiver<Arc<Autoscaler>>) -> Self {
        Self { controllers: context.explain.clone(), autoscaler, clock: context.clock }
    }

    /// Explains the Service `key` to whoever `client` acts as.
    ///
    /// # Errors
    /// They may not read the Service, it is not there, or the API does not answer.
    pub async fn service(&self, client: &Client, key: &Key) -> kube::Result<Explanation> {
        let mut reading = Box::pin(Reading::take(client, key)).await?;
        let config = Arc::clone(&self.autoscaler.borrow());
        let service = &reading.service;
        let ready = service.status.condition(READY).cloned().unwrap_or_default();
        let troubles = troubles::of_objects(&reading);
        let mut containers: Vec<_> = reading.revisions.iter().flat_map(pods::troubles).collect();
        for trouble in &mut containers {
            reading::add_log(client, key.namespace(), trouble, &mut reading.withheld).await;
        }
        let is_troubled = !ready.is_true() || !containers.is_empty();
        let events = if is_troubled { reading::warnings(client, &mut reading).await? } else { Vec::new() };
        let service = &reading.service;
        Ok(Explanation {
            at: self.clock.now(),
            namespace: key.namespace().to_owned(),
            name: key.name().to_owned(),
            url: Some(service.status.url.clone()).filter(|url| !url.is_empty()),
            is_current: service.metadata.generation == Some(service.status.observed_generation),
            ready,
            troubles,
            containers,
            events,
            revisions: reading.revisions.iter().map(|seen| self.revision(service, seen, &config)).collect(),
            controllers: self.outcomes(&reading, key),
            withheld: reading.withheld,
        })
    }

    /// What each controller of `kind` has gathered about an object, would do now, and did last. It tells more than one object's reader may
    /// read: for those who may read everything.
    pub fn facts(&self, kind: &str, key: &Key) -> Option<Value> {
        self.controllers.explain(kind, key)
    }

    fn revision(&self, service: &Service, seen: &reading::Seen, config: &Autoscaler) -> RevisionReport {
        let measured = seen.autoscaler.as_ref().and_then(|autoscaler| self.measured(&Key::of(autoscaler)));
        let scaling = seen
            .autoscaler
            .as_ref()
            .map(|autoscaler| scaling::of(autoscaler, seen.serverless_service.as_ref(), measured, config));
        report::revision(service, seen, scaling)
    }

    /// What the autoscaler decided last.
    fn measured(&self, key: &Key) -> Option<Measured> {
        let told = self.controllers.explain(&kind::<PodAutoscaler>().to_string(), key)?;
        let facts = told.as_object()?.values().find_map(|facts| facts.pointer("/observed/decision"))?;
        serde_json::from_value(facts.clone()).ok()
    }

    /// What came of the last reconcile of each object that was read.
    fn outcomes(&self, reading: &Reading, service: &Key) -> Vec<Outcome> {
        let mut objects = vec![(kind::<Service>(), service.clone())];
        objects.extend(reading.configuration.iter().map(|object| (kind::<Configuration>(), Key::of(object))));
        objects.extend(reading.route.iter().map(|object| (kind::<Route>(), Key::of(object))));
        for seen in &reading.revisions {
            objects.extend(seen.revision.iter().map(|object| (kind::<Revision>(), Key::of(object))));
            objects.extend(seen.autoscaler.iter().map(|object| (kind::<PodAutoscaler>(), Key::of(object))));
            let services = seen.serverless_service.iter();
            objects.extend(services.map(|object| (kind::<ServerlessService>(), Key::of(object))));
        }
        objects.iter().flat_map(|(kind, key)| self.outcomes_of(kind, key)).collect()
    }

    fn outcomes_of(&self, kind: &GroupKind, key: &Key) -> Vec<Outcome> {
        let told = self.controllers.explain(&kind.to_string(), key);
        let controllers = told.as_ref().and_then(Value::as_object).into_iter().flatten();
        controllers.filter_map(|(name, facts)| Outcome::read(name, (kind.kind(), key), &facts["last"])).collect()
    }
}

fn kind<K: Resource<DynamicType = ()>>() -> GroupKind {
    GroupKind::new(K::group(&()).into_owned(), K::kind(&()).into_owned())
}
