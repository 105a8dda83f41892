//! Making and keeping the Pods that a StatefulSet is to have, and letting those beyond go.

use std::ops::ControlFlow;

use base_controller::{Change, PlanEvent};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::plan::{Step, told};
use super::{claims, resources};
use crate::objects::{pods, revisions};

/// Whether what comes after may go on. Where Pods do not wait for each other nobody listens.
type Flow = ControlFlow<()>;

impl<'a> Step<'a> {
    /// Everything that is to be done now.
    pub(super) fn run(&mut self) {
        let is_over = self.keep_replicas().is_break() || {
            self.own_claims_of_condemned();
            self.dismiss_condemned().is_break()
        };
        if !is_over && !resources::is_on_delete(self.set) {
            self.update_replicas();
        }
    }

    /// Lets `then` see one after the other, until one says that the others wait.
    fn in_order(&mut self, count: usize, then: impl Fn(&mut Self, usize) -> Flow) -> Flow {
        let is_ordered = resources::is_ordered(self.set);
        for index in 0..count {
            let flow = then(self, index);
            if is_ordered && flow.is_break() {
                return flow;
            }
        }
        Flow::Continue(())
    }

    fn keep_replicas(&mut self) -> Flow {
        self.in_order(self.replicas.len(), |step, index| match step.replicas.get(index).copied() {
            Some((ordinal, Some(pod))) => step.keep(ordinal, pod),
            Some((ordinal, None)) => step.make(ordinal),
            None => Flow::Continue(()),
        })
    }

    fn make(&mut self, ordinal: i32) -> Flow {
        let is_stale = claims::names(self.set, ordinal).any(|name| {
            self.observed.claims.get(&name).is_some_and(|claim| claims::is_stale(self.set, ordinal, claim))
        });
        if is_stale {
            return Flow::Break(());
        }
        let start = resources::ordinals(self.set).start;
        let rolling = self.set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        // Without bounds for the update, Pods that have not been updated yet come back as they were.
        let kept = match rolling {
            Some(rolling) => rolling.partition.unwrap_or_default(),
            None if resources::is_on_delete(self.set) => 0,
            None => self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or_default(),
        };
        let revision = if ordinal < start.saturating_add(kept) { self.current } else { self.update };
        let pod = resources::make_pod(self.set, ordinal, revision);
        self.make_claims(ordinal, &pod)?;
        self.changes.push(told(Change::create(&pod), "Create", self.set, &pod));
        Flow::Break(())
    }

    /// Makes what claims are missing. A claim that is being deleted has to go first.
    fn make_claims(&mut self, ordinal: i32, pod: &Pod) -> Flow {
        let (set_name, pod_name) = (resources::name(self.set), pod.metadata.name.as_deref().unwrap_or_default());
        let mut flow = Flow::Continue(());
        for claim in claims::make(self.set, ordinal) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            match self.observed.claims.get(name) {
                Some(known) if known.metadata.deletion_timestamp.is_some() => {
                    let failed = format!(
                        "Create Pod {pod_name} in StatefulSet {set_name} failed error: pvc {name} is being deleted"
                    );
                    self.events.push(PlanEvent::warning("FailedCreate", failed));
                    flow = Flow::Break(());
                }
                Some(_) => {}
                None => {
                    let done = format!("Create Claim {name} Pod {pod_name} in StatefulSet {set_name} success");
                    let failed = format!(
                        "Create Claim {name} for Pod {pod_name} in StatefulSet {set_name} failed error: {{error}}"
                    );
                    let change = Change::create(&claim)
                        .with_event(PlanEvent::normal("SuccessfulCreate", done))
                        .or_event(PlanEvent::warning("FailedCreate", failed));
                    self.changes.push(change);
                }
            }
        }
        flow
    }

    fn keep(&mut self, ordinal: i32, pod: &Pod) -> Flow {
        if pods::is_finished(pod) {
            if !pods::is_terminating(pod) {
                self.delete(pod);
            }
            return Flow::Break(());
        }
        if pods::phase(pod) == "Pending" && !pods::is_terminating(pod) {
            self.make_claims(ordinal, pod)?;
        }
        let is_waited_for = pods::is_terminating(pod) || pods::phase(pod) != "Running" || !self.is_available(pod);
        if is_waited_for && resources::is_ordered(self.set) {
            return Flow::Break(());
        }
        self.identify(pod);
        self.own_claims(pod);
        Flow::Continue(())
    }

    /// Puts the label back by which the Pod is found.
    fn identify(&mut self, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if revisions::label(&pod.metadata, resources::POD_NAME) == name {
            return;
        }
        let ordinal = resources::ordinal_of(self.set, pod).unwrap_or_default();
        let labels = json!({resources::POD_NAME: name, resources::POD_INDEX: ordinal.to_string()});
        let change = Change::overlay_fields(pod, json!({"metadata": {"labels": labels}}));
        self.changes.push(told(change, "Update", self.set, pod));
    }

    /// Gives the Pod's claims the owners that the policy wants.
    fn own_claims(&mut self, pod: &Pod) {
        let Some(ordinal) = resources::ordinal_of(self.set, pod) else { return };
        for name in claims::names(self.set, ordinal) {
            let Some(claim) = self.observed.claims.get(&name) else { continue };
            let Some(change) = claims::own(self.set, pod, claim) else { continue };
            if claims::is_anothers(self.set, pod, claim) {
                let conflict = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, \
                     the retention policy is ignored for this claim"
                );
                self.events.push(PlanEvent::warning("ConflictingController", conflict));
            }
            self.changes.push(change);
        }
    }

    fn own_claims_of_condemned(&mut self) {
        for pod in self.condemned.clone() {
            self.own_claims(pod);
        }
    }

    /// Deletes Pods beyond the replicas. In order: one at a time, and only what is itself the trouble while something is not available.
    fn dismiss_condemned(&mut self) -> Flow {
        let first_unavailable = self.first_unavailable();
        self.in_order(self.condemned.len(), |step, index| {
            let Some(pod) = step.condemned.get(index).copied() else { return Flow::Continue(()) };
            if pods::is_terminating(pod) {
                return Flow::Break(());
            }
            let is_healthy = pods::phase(pod) == "Running" && step.is_available(pod);
            let is_the_trouble = first_unavailable == Some(pod.metadata.name.as_deref());
            if resources::is_ordered(step.set) && !is_healthy && !is_the_trouble {
                return Flow::Break(());
            }
            step.delete(pod);
            Flow::Break(())
        })
    }

    /// The name of the first Pod, by ordinal, that is not available: of the replicas (none: one that is not there), then of those beyond.
    fn first_unavailable(&self) -> Option<Option<&'a str>> {
        let is_unavailable = |pod: &Pod| pods::is_terminating(pod) || !self.is_available(pod);
        let replicas = self.replicas.iter().map(|(_, pod)| *pod);
        let beyond = self.condemned.iter().rev().map(|pod| Some(*pod));
        let first = replicas.chain(beyond).find(|pod| pod.is_none_or(is_unavailable))?;
        Some(first.and_then(|pod| pod.metadata.name.as_deref()))
    }
}
