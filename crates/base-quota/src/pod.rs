//! What a Pod takes as a whole: the most that its containers may need at once, as they start one after the other.

use serde_json::Value;

use crate::amounts::Amounts;
use crate::json::{at, is_set, list, text};

/// Resources that a Pod may state for all of its containers.
const WHOLE: [&str; 2] = ["cpu", "memory"];

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// What is set aside.
    Requests,
    /// What is not exceeded.
    Limits,
}

impl Bound {
    /// The field of a container's `resources`.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// What the Pod's spec asks for, without its overhead.
pub fn stated(pod: &Value, bound: Bound) -> Amounts {
    let of = |container: &Value| Amounts::of(at(container, &["resources", bound.field()]));
    let mut sidecars = Amounts::default();
    let mut starting = Amounts::default();
    for container in list(pod, &["spec", "initContainers"]) {
        if text(container, &["restartPolicy"]) == "Always" {
            sidecars.add(&of(container));
            starting.raise_to(&sidecars);
        } else {
            let mut at_once = of(container);
            at_once.add(&sidecars);
            starting.raise_to(&at_once);
        }
    }
    let mut running = Amounts::default();
    for container in list(pod, &["spec", "containers"]) {
        running.add(&of(container));
    }
    running.add(&sidecars);
    running.raise_to(&starting);
    for (name, amount) in Amounts::of(at(pod, &["spec", "resources", bound.field()])).iter() {
        if WHOLE.contains(&name) {
            running.set(name, amount.clone());
        }
    }
    running
}

/// What the Pod takes, with its overhead; a limit is only raised by it where there is one.
pub fn taken(pod: &Value, bound: Bound) -> Amounts {
    let mut taken = stated(pod, bound);
    let overhead = Amounts::of(at(pod, &["spec", "overhead"]));
    let is_raised = |name: &str| bound == Bound::Requests || taken.get(name).is_some_and(|limit| !limit.is_zero());
    let overhead = overhead.only(is_raised);
    taken.add(&overhead);
    taken
}

/// Whether no container asks for processor time or memory.
pub(crate) fn is_best_effort(pod: &Value) -> bool {
    let asks = |resources: &Value| {
        let amounts = [Bound::Requests, Bound::Limits].map(|bound| Amounts::of(at(resources, &[bound.field()])));
        amounts.iter().any(|amounts| WHOLE.iter().any(|name| amounts.get(name).is_some_and(|amount| !amount.is_zero())))
    };
    if is_set(pod, &["spec", "resources"]) {
        return !asks(at(pod, &["spec", "resources"]));
    }
    let lists = ["containers", "initContainers"].map(|name| list(pod, &["spec", name]));
    !lists.into_iter().flatten().any(|container| asks(at(container, &["resources"])))
}

/// Whether the Pod states resources for all of its containers.
pub(crate) fn states_whole(pod: &Value) -> bool {
    [Bound::Requests, Bound::Limits]
        .iter()
        .any(|bound| WHOLE.iter().any(|name| is_set(pod, &["spec", "resources", bound.field(), name])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_takes_the_most_that_it_may_need_at_once() {
        let of = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}});
        let mut sidecar = of("100m");
        sidecar["restartPolicy"] = json!("Always");
        let mut pod = json!({"spec": {
            "containers": [of("200m"), of("300m")], "initContainers": [sidecar, of("1")],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }});
        assert_eq!(stated(&pod, Bound::Requests).to_string(), "cpu=1100m");
        assert_eq!(taken(&pod, Bound::Requests).to_string(), "cpu=1110m,memory=1Mi");
        assert_eq!(taken(&pod, Bound::Limits).to_string(), "memory=3073Mi", "there is no limit of cpu to raise");
        pod["spec"]["resources"] = json!({"requests": {"cpu": "2"}});
        assert_eq!(stated(&pod, Bound::Requests).to_string(), "cpu=2");
    }

    #[test]
    fn what_the_pod_says_as_a_whole_tells_whether_it_asks_for_anything() {
        let container = json!({"resources": {"limits": {"cpu": "1"}}});
        assert!(!is_best_effort(&json!({"spec": {"containers": [container]}})));
        assert!(is_best_effort(&json!({"spec": {"containers": [container], "resources": {"limits": {"cpu": "0"}}}})));
        let pages = json!({"limits": {"hugepages-2Mi": "2Mi"}});
        assert!(is_best_effort(&json!({"spec": {"containers": [container], "resources": pages}})));
    }
}
