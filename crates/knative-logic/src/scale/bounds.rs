//! The least and the most pods.

use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::config::Autoscaler;

/// The limits of a revision's scale; a `max` of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least pods.
    pub min: i32,
    /// The most pods; 0 is no limit.
    pub max: i32,
}

impl Bounds {
    /// The limits now: until the initial scale has been reached once it is the least, unless no
    /// Route leads to the revision.
    pub fn of(autoscaler: &PodAutoscaler, config: &Autoscaler) -> Self {
        let (mut min, max) = autoscaler.scale_bounds(config);
        let initial = autoscaler.initial_scale(config);
        let waits = !autoscaler.status.is_scale_target_initialized() && !autoscaler.is_unreachable();
        if initial > 1 && waits {
            min = min.max(initial);
        }
        Self { min, max }
    }

    /// The nearest scale within the limits; the least comes first.
    pub fn apply(self, scale: i32) -> i32 {
        if scale < self.min {
            self.min
        } else if self.max != 0 && scale > self.max {
            self.max
        } else {
            scale
        }
    }
}

/// How many ready pods make a revision active.
pub fn active_threshold(autoscaler: &PodAutoscaler, config: &Autoscaler) -> i32 {
    let (min, _) = autoscaler.scale_bounds(config);
    if autoscaler.status.is_scale_target_initialized() { min.max(1) } else { min.max(autoscaler.initial_scale(config)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use knative_apis::autoscaling::Reachability;
    use serde_json::json;

    fn pa(annotations: serde_json::Value) -> PodAutoscaler {
        serde_json::from_value(json!({"metadata": {"annotations": annotations}})).expect("a PodAutoscaler")
    }

    #[test]
    fn the_initial_scale_is_the_least_at_first() {
        let config = Autoscaler::default();
        let mut autoscaler =
            pa(json!({"autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/initial-scale": "5"}));
        assert_eq!(Bounds::of(&autoscaler, &config), Bounds { min: 5, max: 0 });
        assert_eq!(active_threshold(&autoscaler, &config), 5);
        autoscaler.status.mark_scale_target_initialized(Timestamp::UNIX_EPOCH);
        assert_eq!(Bounds::of(&autoscaler, &config), Bounds { min: 2, max: 0 });
        assert_eq!(active_threshold(&autoscaler, &config), 2);
        autoscaler.spec.reachability = Reachability::Unreachable;
        assert_eq!(Bounds::of(&autoscaler, &config), Bounds { min: 0, max: 0 });
        assert_eq!(active_threshold(&autoscaler, &config), 1);
    }

    #[test]
    fn limits_are_applied() {
        let bounds = Bounds { min: 2, max: 5 };
        assert_eq!([-1, 0, 3, 9].map(|scale| bounds.apply(scale)), [2, 2, 3, 5]);
        assert_eq!(Bounds { min: 0, max: 0 }.apply(1000), 1000);
    }
}
