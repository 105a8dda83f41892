//! What a Pod asks for and a node offers, by resource.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;

use crate::objects::quantity::Milli;

/// The resource of which each Pod takes one.
pub(super) const PODS: &str = "pods";

/// Amounts by resource. A resource that is not named counts as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Amounts(BTreeMap<String, Milli>);

impl Amounts {
    /// What the node offers to Pods.
    pub(super) fn allocatable(node: &Node) -> Self {
        Self::of(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
    }

    /// What the Pod takes of its node: the most that its containers may need at once, as they start one after the other.
    pub(super) fn requested(pod: &Pod) -> Self {
        let mut amounts = pod.spec.as_ref().map(Self::of_spec).unwrap_or_default();
        amounts.0.insert(PODS.to_owned(), Milli::units(1));
        amounts
    }

    fn of_spec(spec: &PodSpec) -> Self {
        let mut sidecars = Self::default();
        let mut starting = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let own = Self::of_container(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&own);
                starting.raise_to(&sidecars);
            } else {
                let mut at_once = sidecars.clone();
                at_once.add(&own);
                starting.raise_to(&at_once);
            }
        }
        let mut running = sidecars;
        for container in &spec.containers {
            running.add(&Self::of_container(container));
        }
        running.raise_to(&starting);
        // What the Pod asks for as a whole stands for its containers.
        let whole = Self::of(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        running.0.extend(whole.0);
        running.add(&Self::of(spec.overhead.as_ref()));
        running
    }

    fn of_container(container: &Container) -> Self {
        let requests = |resources: &ResourceRequirements| Self::of(resources.requests.as_ref());
        container.resources.as_ref().map(requests).unwrap_or_default()
    }

    fn of(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amounts = quantities.into_iter().flatten();
        Self(amounts.filter_map(|(name, quantity)| Some((name.clone(), Milli::parse(quantity)?))).collect())
    }

    /// How much of one resource.
    pub(super) fn get(&self, name: &str) -> Milli {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Every resource and its amount.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Milli)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.get(name).plus(*amount);
            self.0.insert(name.clone(), sum);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.get(name).minus(*amount);
            self.0.insert(name.clone(), rest);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.get(name).max(*amount);
            self.0.insert(name.clone(), most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}})
    }

    #[test]
    fn a_pod_takes_the_most_that_it_may_need_at_once() {
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "containers": [container("200m"), container("300m")],
            "initContainers": [sidecar, container("1")],
            "overhead": {"cpu": "10m"},
        }}))
        .unwrap();
        let amounts = Amounts::requested(&pod);
        assert_eq!(amounts.get("cpu"), Milli(1110), "the second init container runs beside the sidecar");
        assert_eq!(amounts.get("memory"), Milli::units(2 * 1024 * 1024));
        assert_eq!(amounts.get(PODS), Milli::units(1));
    }

    #[test]
    fn a_pods_own_requests_stand_for_its_containers() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "containers": [container("200m")], "resources": {"requests": {"cpu": "2"}},
        }}))
        .unwrap();
        assert_eq!(Amounts::requested(&pod).get("cpu"), Milli::units(2));
        assert_eq!(Amounts::requested(&pod).get("memory"), Milli::units(1024 * 1024));
    }
}
