//! Which nodes are to have a Pod, and which Pods are too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::PlanEvent;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::plan::Step;
use super::resources;
use crate::objects::{affinity, pods};

/// What is on a node.
#[derive(Debug, Default)]
pub(super) struct Place<'a> {
    /// The node's name.
    pub(super) name: String,
    /// Whether it is to have a Pod. A node that is not there is not.
    pub(super) should_run: bool,
    /// Whether a Pod that it has may stay.
    pub(super) may_stay: bool,
    pub(super) is_there: bool,
    /// The Pods of the set that it has, bound before unbound, then oldest first. Without those that have ended and are being deleted.
    pub(super) pods: Vec<&'a Pod>,
}

/// The nodes, and those that are gone but still have Pods.
pub(super) fn places<'a>(set: &DaemonSet, nodes: &[Arc<Node>], pods: &'a [Arc<Pod>]) -> Vec<Place<'a>> {
    let example = resources::example(set);
    let mut places: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        places.insert(name, judge(&example, node, name));
    }
    for pod in pods.iter().filter(|pod| !(pods::is_finished(pod) && pods::is_terminating(pod))) {
        let Some(name) = resources::node_of(pod) else { continue };
        let place = places.entry(name).or_insert_with(|| Place { name: name.to_owned(), ..Place::default() });
        place.pods.push(pod);
    }
    let order = |pod: &&Pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (pods::node_name(pod).is_none(), created, pod.metadata.name.clone())
    };
    places.values_mut().for_each(|place| place.pods.sort_by_key(order));
    places.into_values().collect()
}

fn judge<'a>(example: &Pod, node: &Node, name: &str) -> Place<'a> {
    let wanted = example.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
    let is_chosen = wanted.is_none_or(|wanted| wanted == name) && affinity::takes_node(example, node);
    Place {
        name: name.to_owned(),
        should_run: is_chosen && affinity::tolerates(example, node),
        may_stay: is_chosen && affinity::may_stay(example, node),
        is_there: true,
        pods: Vec::new(),
    }
}

impl Step<'_> {
    /// Makes the Pods that nodes lack, and deletes those that they should not have.
    pub(super) fn place(&mut self) {
        for index in 0..self.places.len() {
            let Some(place) = self.places.get(index) else { continue };
            if place.pods.is_empty() {
                if place.should_run {
                    self.make(index);
                }
            } else if !place.is_there {
                // Bound ones are the Pod garbage collector's.
                self.delete_those(index, |pod| pods::node_name(pod).is_none());
            } else if place.may_stay {
                self.keep(index);
            } else {
                self.delete_those(index, |pod| !pods::is_terminating(pod));
            }
        }
    }

    fn delete_those(&mut self, index: usize, is_too_many: impl Fn(&Pod) -> bool) {
        let Some(place) = self.places.get(index) else { return };
        let those: Vec<&Pod> = place.pods.iter().copied().filter(|pod| is_too_many(pod)).collect();
        those.into_iter().for_each(|pod| self.delete(pod));
    }

    fn keep(&mut self, index: usize) {
        let Some(place) = self.places.get(index) else { return };
        let (should_run, node) = (place.should_run, place.name.clone());
        let present: Vec<&Pod> = place.pods.iter().copied().filter(|pod| !pods::is_terminating(pod)).collect();
        let mut running = Vec::new();
        for pod in present {
            match pods::phase(pod) {
                "Failed" => self.replace_failed(pod, &node),
                "Succeeded" => self.replace_succeeded(pod, &node),
                _ => running.push(pod),
            }
        }
        if !self.is_surging() {
            running.into_iter().skip(1).for_each(|pod| self.delete(pod));
        } else if running.is_empty() {
            if should_run {
                self.make(index);
            }
        } else {
            self.keep_pair(&running);
        }
    }

    /// While Pods surge there may be an old one, as long as it is ready, beside a new one, as long as that is not available.
    fn keep_pair(&mut self, running: &[&Pod]) {
        let (new, old): (Vec<&Pod>, Vec<&Pod>) =
            running.iter().copied().partition(|pod| resources::is_updated(self.set, pod, self.hash));
        new.iter().skip(1).chain(old.iter().skip(1)).for_each(|pod| self.delete(pod));
        let (Some(new), Some(old)) = (new.first(), old.first()) else { return };
        if !pods::is_ready(old) || self.is_available(new) {
            self.delete(old);
        }
    }

    fn replace_failed(&mut self, pod: &Pod, node: &str) {
        if let Some(due) = self.observed.retries.get(node).filter(|due| **due > self.now) {
            self.look_again_at(*due);
            return;
        }
        let found = format!("Found failed daemon pod {} on node {node}, will try to kill it", full_name(pod));
        self.events.push(PlanEvent::warning("FailedDaemonPod", found));
        self.delete(pod);
    }

    fn replace_succeeded(&mut self, pod: &Pod, node: &str) {
        let found = format!("Found succeeded daemon pod {} on node {node}, will try to delete it", full_name(pod));
        self.events.push(PlanEvent::normal("SucceededDaemonPod", found));
        self.delete(pod);
    }
}

fn full_name(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}
