//! What a decision about a PodDisruptionBudget may look at: itself, its Pods, and the sizes that their controllers are meant to have.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Context, Controller, Informer, Key};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;

use super::Budgets;
use super::scale::{Scale, Scales};
use crate::objects::labels::{ByLabel, Matcher};
use crate::objects::owners;

/// The caches that are read.
#[derive(Clone, Debug)]
pub(super) struct Caches {
    budgets: Informer<PodDisruptionBudget>,
    pods: ByLabel<Pod>,
    scales: Scales,
}

/// The facts about one PodDisruptionBudget.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The budget itself.
    pub(super) budget: Arc<PodDisruptionBudget>,
    /// The Pods that it is for, in the order of their names.
    pub(super) pods: Vec<Arc<Pod>>,
    /// What is known of the Pods' controllers, by the uids in their references.
    pub(super) scales: BTreeMap<String, Scale>,
}

impl Caches {
    pub(super) fn new(budgets: &Informer<PodDisruptionBudget>, pods: &Informer<Pod>, context: &Context) -> Self {
        Self { budgets: budgets.clone(), pods: ByLabel::new(pods), scales: Scales::new(&context.informers) }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let budget = self.budgets.get(key)?;
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let pods = self.pods.selected(key.namespace(), selector);
        let controllers = pods.iter().filter_map(|pod| owners::controller_of(&pod.metadata));
        let scales = controllers.map(|owner| (owner.uid.clone(), self.scales.of(key.namespace(), owner))).collect();
        Some(Observed { budget, pods, scales })
    }

    /// Has the controller wait for the caches that only tell sizes.
    pub(super) fn reading(&self, controller: Controller<Budgets>) -> Controller<Budgets> {
        self.scales.reading(controller)
    }
}

/// What the budget's selector takes.
pub(super) fn selector(budget: &PodDisruptionBudget) -> Matcher {
    Matcher::for_all(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}
