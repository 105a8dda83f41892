//! How many replicas, who stands in front of them, and what is said about it.

use std::time::Duration;

use base_controller::{Change, Condition, Object, Plan};
use jiff::Timestamp;
use knative_apis::autoscaling::{ACTIVE, HPA, PodAutoscaler, PodAutoscalerStatus};
use knative_apis::go_text::quote;
use knative_apis::meta::owner;
use knative_apis::networking::{ServerlessService, ServerlessServiceMode};
use knative_logic::names;
use knative_logic::scale::apply::{
    Facts as ScaleFacts, MIN_ACTIVATORS, ScalePlan, activators, scale, serverless_service_mode,
};
use knative_logic::scale::status::update;
use knative_logic::scale::{DeciderSpec, Decision};
use kube::ResourceExt;
use serde_json::json;

use super::observe::Observed;
use super::resources::{make_metric, make_serverless_service, rescale};
use super::status;
use crate::config::Configs;
use crate::json;
use crate::status::{begin, creation_failed, end, update_failed};

/// Whether the rest can be done now.
#[derive(PartialEq)]
pub(super) enum Go {
    On,
    Stop,
}

/// A plan in the making. The PodAutoscaler carries the status as it will be, which decisions look at.
pub(super) struct Draft<'a> {
    pub(super) plan: Plan<()>,
    pub(super) autoscaler: PodAutoscaler,
    pub(super) observed: &'a Observed,
    pub(super) configs: &'a Configs,
    pub(super) now: Timestamp,
}

/// Decides.
pub(super) fn plan(observed: &Observed, configs: &Configs, now: Timestamp) -> Plan<PodAutoscalerStatus> {
    let mut autoscaler = (*observed.autoscaler).clone();
    autoscaler.status = begin(&autoscaler, now);
    let mut draft = Draft { plan: Plan::new(()), autoscaler, observed, configs, now };
    draft.plan.track.clone_from(&observed.references);
    if observed.autoscaler.class() == HPA {
        draft.drop_child(observed.metric.as_deref());
        draft.delegate();
        return draft.finish();
    }
    draft.drop_child(observed.horizontal.as_deref());
    match observed.serverless_service.as_deref().filter(|sks| !sks.status.private_service_name.is_empty()) {
        Some(sks) => draft.scale(sks),
        None => draft.begin_service(),
    }
    draft.finish()
}

impl Draft<'_> {
    /// The Services come first: until they are there, only that is said.
    fn begin_service(&mut self) {
        if self.keep_service(ServerlessServiceMode::Proxy, MIN_ACTIVATORS) == Go::On && self.keep_metric() == Go::On {
            self.autoscaler.status.mark_sks_not_ready("No Private Service Name", self.now);
            update(&mut self.autoscaler, -1, 0, &self.configs.autoscaler, self.now);
        }
    }

    fn scale(&mut self, sks: &ServerlessService) {
        let spec = DeciderSpec::new(&self.autoscaler, &self.configs.autoscaler);
        let decided = self.observed.decision.as_ref().map(|fact| fact.decision);
        let decision = decided.unwrap_or_else(|| Decision::unknown(&spec));
        self.autoscaler.status.metrics_service_name.clone_from(&sks.status.private_service_name);
        let done = self.apply(sks, &decision);
        let ready = self.observed.ready;
        let mode = serverless_service_mode(&self.autoscaler, done.want, &decision, &sks.spec.mode);
        if self.keep_service(mode, activators(ready, &spec)) == Go::Stop || self.keep_metric() == Go::Stop {
            return;
        }
        status::propagate(&mut self.autoscaler.status, sks, self.now);
        update(&mut self.autoscaler, done.want, ready, &self.configs.autoscaler, self.now);
    }

    /// Asks for replicas, if they are to change.
    fn apply(&mut self, sks: &ServerlessService, decision: &Decision) -> ScalePlan {
        let Some(deployment) = self.observed.deployment.as_deref() else {
            // The Revision is about to make it.
            return ScalePlan { want: decision.desired, replicas: None, again: None, probe_activator: false };
        };
        let facts = ScaleFacts {
            config: &self.configs.autoscaler,
            progress_deadline: self.configs.deployment.progress_deadline,
            proxy_for: sks.status.proxy_for(self.now),
            is_proxied: sks.spec.mode == ServerlessServiceMode::Proxy,
            activator_answers: self.observed.activator_answers,
            replicas: deployment.spec.replicas.unwrap_or(1),
        };
        let done = scale(&self.autoscaler, decision.desired, &facts, self.now);
        self.plan.changes.extend(done.replicas.map(|replicas| rescale(deployment, replicas)));
        self.plan.again = done.again.map(|again| Duration::try_from(again).unwrap_or_default());
        done
    }

    /// A child of the other class goes, if the class has changed.
    fn drop_child<K: Object<DynamicType = ()>>(&mut self, child: Option<&K>) {
        let own = child.filter(|child| owner::is_controlled_by(child.meta(), &self.autoscaler.metadata));
        self.plan.changes.extend(own.map(Change::delete));
    }

    pub(super) fn keep_service(&mut self, mode: ServerlessServiceMode, activators: i32) -> Go {
        let desired = make_serverless_service(&self.autoscaler, mode, activators);
        let name = desired.name_any();
        let what = format!("ServerlessService {}", quote(&name));
        match self.observed.serverless_service.as_deref() {
            None => self.create(Change::create(&desired), &what),
            Some(existing) if !owner::is_controlled_by(&existing.metadata, &self.autoscaler.metadata) => {
                self.autoscaler.status.mark_resource_not_owned("ServerlessService", &name, self.now);
                return Go::Stop;
            }
            Some(existing) => {
                let fields = json!({ "spec": desired.spec });
                self.change(json::change(existing, json::replacing(existing, &fields, &[&["spec"]])), &what);
            }
        }
        Go::On
    }

    fn keep_metric(&mut self) -> Go {
        let name = self.autoscaler.name_any();
        let desired = make_metric(&self.autoscaler, &names::private_service(&name), &self.configs.autoscaler);
        let what = format!("Metric {}", quote(&name));
        match self.observed.metric.as_deref() {
            None => self.create(Change::create(&desired), &what),
            Some(existing) if !owner::is_controlled_by(&existing.metadata, &self.autoscaler.metadata) => {
                self.autoscaler.status.mark_resource_not_owned("Metric", &name, self.now);
                return Go::Stop;
            }
            Some(existing) => self.change(json::change(existing, json!({ "spec": desired.spec })), &what),
        }
        Go::On
    }

    fn create(&mut self, change: Change, what: &str) {
        self.plan.changes.push(change.or_condition(creation_failed(ACTIVE, what)));
    }

    /// The condition that the refusal of a child means.
    pub(super) fn failed_creation(&self, kind: &str, name: &str) -> Condition {
        Condition { reason: "FailedCreate".to_owned(), ..creation_failed(ACTIVE, &format!("{kind} {}", quote(name))) }
    }

    pub(super) fn change(&mut self, change: Option<Change>, what: &str) {
        self.plan.changes.extend(change.map(|change| change.or_condition(update_failed(ACTIVE, what))));
    }

    fn finish(self) -> Plan<PodAutoscalerStatus> {
        let Self { plan, autoscaler, observed, .. } = self;
        let mut status = autoscaler.status;
        end(&*observed.autoscaler, &mut status);
        let Plan { finalizer, changes, events, again, track, status: () } = plan;
        Plan { finalizer, changes, status, events, again, track }
    }
}
