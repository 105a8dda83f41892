//! Bringing Pods to the set's template: those that are not are deleted, highest ordinal first, and come back.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::plan::Step;
use super::resources;
use crate::objects::percent::{self, Round};
use crate::objects::pods;
use crate::objects::revisions::{self, REVISION_HASH};

impl Step<'_> {
    /// Deletes Pods of other revisions from the partition on, as many as may be unavailable.
    pub(super) fn update_replicas(&mut self) {
        let present = || self.replicas.iter().filter_map(|(ordinal, pod)| Some((*ordinal, (*pod)?)));
        let missing =
            usize::try_from(resources::replicas(self.set)).unwrap_or_default().saturating_sub(present().count());
        let unavailable = missing + present().filter(|(_, pod)| self.is_unavailable(pod)).count();
        let first = resources::ordinals(self.set).start.saturating_add(partition(self.set));
        let mut outdated: Vec<&Pod> = present()
            .filter(|(ordinal, pod)| *ordinal >= first && self.is_outdated(pod) && !pods::is_terminating(pod))
            .map(|(_, pod)| pod)
            .collect();
        outdated.reverse();
        let mut room = max_unavailable(self.set).saturating_sub(unavailable);
        for pod in outdated {
            // Where nobody waits, a Pod that is not available anyway costs nothing.
            let is_free = !resources::is_ordered(self.set) && self.is_unavailable(pod);
            if !is_free && room == 0 {
                continue;
            }
            room -= usize::from(!is_free);
            self.delete(pod);
            self.leaving += 1;
        }
    }

    fn is_unavailable(&self, pod: &Pod) -> bool {
        pods::is_terminating(pod) || !self.is_available(pod)
    }

    fn is_outdated(&self, pod: &Pod) -> bool {
        Some(revisions::label(&pod.metadata, REVISION_HASH)) != self.update.metadata.name.as_deref()
    }
}

/// How many replicas, from the lowest ordinal on, keep the revision that they have.
fn partition(set: &StatefulSet) -> i32 {
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    rolling.and_then(|rolling| rolling.partition).unwrap_or_default().max(0)
}

/// How many replicas may be unavailable while Pods are updated: at least one.
fn max_unavailable(set: &StatefulSet) -> usize {
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let bound = rolling.and_then(|rolling| rolling.max_unavailable.clone()).unwrap_or(IntOrString::Int(1));
    usize::try_from(percent::scaled(&bound, resources::replicas(set), Round::Down)).unwrap_or(1).max(1)
}
