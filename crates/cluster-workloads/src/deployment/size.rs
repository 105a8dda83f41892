//! Sizes: how many Pods there may be and must be while a Deployment rolls.

use k8s_openapi::api::apps::v1::Deployment;

use super::resources;
use crate::objects::percent::{Round, scaled};

/// The bounds of a rolling update, in Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// How many Pods are wanted.
    pub(super) replicas: i32,
    /// How many more there may be.
    pub(super) max_surge: i32,
    /// How many fewer may be available.
    pub(super) max_unavailable: i32,
}

impl Bounds {
    /// The bounds of a Deployment. One that recreates has neither surge nor tolerance.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = resources::replicas(deployment);
        let none = Self { replicas, max_surge: 0, max_unavailable: 0 };
        if resources::is_recreating(deployment) {
            return none;
        }
        let rolling = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let max_surge = surge.map_or(0, |value| scaled(value, replicas, Round::Up));
        let mut max_unavailable = unavailable.map_or(0, |value| scaled(value, replicas, Round::Down));
        if max_surge == 0 && max_unavailable == 0 {
            // Both may round to nothing; then the update could not move.
            max_unavailable = 1;
        }
        Self { max_surge, max_unavailable: max_unavailable.min(replicas), ..none }
    }

    /// The most Pods that there may be.
    pub(super) fn max_total(&self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }

    /// The fewest Pods that must be available.
    pub(super) fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bounds(replicas: i32, surge: Value, unavailable: Value) -> (i32, i32) {
        let deployment: Deployment = serde_json::from_value(json!({
            "spec": {
                "replicas": replicas, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            },
        }))
        .unwrap();
        let bounds = Bounds::of(&deployment);
        (bounds.max_surge, bounds.max_unavailable)
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down() {
        assert_eq!(bounds(2, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(bounds(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(bounds(10, json!(1), json!(0)), (1, 0));
        assert_eq!(bounds(3, json!(0), json!("10%")), (0, 1), "something has to give");
        assert_eq!(bounds(0, json!("25%"), json!("25%")), (0, 0));
        assert_eq!(bounds(2, json!(0), json!(5)), (0, 2));
        assert_eq!(bounds(2, json!("x"), json!("100%")), (0, 2));
    }
}
