//! How fast a number of replicas may follow what is recommended: pure, as Kubernetes' horizontal controller has it.
//!
//! Recommendations of a while back hold a new one: it is not followed down as long as a higher one is young, and, if the autoscaler says so, not
//! up as long as a lower one is. Then the policies of `spec.behavior` bound how much may change in a period; without a behavior replicas at most
//! double, or become four.

use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec};

/// How long recommendations hold one that is lower, in seconds, if the autoscaler does not say.
const DOWN_WINDOW_S: i32 = 300;
/// Recommendations and changes that are remembered at most: more than an hour of them.
const MAX_REMEMBERED: usize = 512;

const RISES_TOO_FAST: Why =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const FALLS_TOO_FAST: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const WITHIN_RANGE: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);

/// What is remembered of one autoscaler.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    recommendations: Vec<(Timestamp, i32)>,
    /// Changes: replicas more, or fewer.
    changes: Vec<(Timestamp, i32)>,
}

/// What may be done of a recommendation, and why; reasons and messages are those of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) replicas: i32,
    pub(super) able: Why,
    pub(super) is_limited: bool,
    pub(super) limit: Why,
}

/// A reason and its message.
pub(super) type Why = (&'static str, &'static str);

/// How few replicas there may be.
pub(super) fn min_replicas(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

impl Memory {
    /// The first thing that is known is how many replicas there are.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Notes that replicas were changed.
    pub(super) fn changed(&mut self, from: i32, to: i32, now: Timestamp) {
        self.changes.push((now, to.saturating_sub(from)));
        let surplus = self.changes.len().saturating_sub(MAX_REMEMBERED);
        self.changes.drain(..surplus);
    }

    /// What may be done now of what is recommended, which is noted.
    pub(super) fn step(
        &mut self,
        spec: &HorizontalPodAutoscalerSpec,
        (current, recommended): (i32, i32),
        now: Timestamp,
    ) -> Step {
        let behavior = spec.behavior.as_ref();
        let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
        let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
        let held = match behavior {
            None => self.highest(recommended, since(now, DOWN_WINDOW_S)).max(recommended),
            Some(_) => {
                let window = |rules: Option<&HPAScalingRules>, default| {
                    rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(default)
                };
                let lowest =
                    self.young(since(now, window(up, 0))).min().map_or(recommended, |low| low.min(recommended));
                let highest = self.highest(recommended, since(now, window(down, DOWN_WINDOW_S)));
                current.max(lowest).min(highest.max(recommended))
            }
        };
        self.recommendations.push((now, recommended));
        let surplus = self.recommendations.len().saturating_sub(MAX_REMEMBERED);
        self.recommendations.drain(..surplus);
        let able = match (held == recommended, behavior.is_some() && recommended >= current) {
            (true, _) => READY,
            (false, true) => UP_STABILIZED,
            (false, false) => DOWN_STABILIZED,
        };
        let (replicas, limit) = match behavior {
            None => bounded_by_default(spec, current, held),
            Some(_) => self.bounded_by_rules(spec, (current, held), (up, down), now),
        };
        Step { replicas, able, is_limited: replicas != held, limit }
    }

    fn young(&self, cutoff: Timestamp) -> impl Iterator<Item = i32> {
        self.recommendations.iter().filter(move |(at, _)| *at > cutoff).map(|(_, replicas)| *replicas)
    }

    fn highest(&self, recommended: i32, cutoff: Timestamp) -> i32 {
        self.young(cutoff).max().unwrap_or(recommended)
    }

    fn bounded_by_rules(
        &self,
        spec: &HorizontalPodAutoscalerSpec,
        (current, wanted): (i32, i32),
        (up, down): (Option<&HPAScalingRules>, Option<&HPAScalingRules>),
        now: Timestamp,
    ) -> (i32, Why) {
        if wanted > current {
            let limit = self.limit(up, current, now, Direction::Up).max(current);
            let (most, why) =
                if spec.max_replicas > limit { (limit, RISES_TOO_FAST) } else { (spec.max_replicas, TOO_MANY) };
            if wanted > most {
                return (most, why);
            }
        } else if wanted < current {
            let limit = self.limit(down, current, now, Direction::Down).min(current);
            let min = min_replicas(spec);
            let (least, why) = if min < limit { (limit, FALLS_TOO_FAST) } else { (min, TOO_FEW) };
            if wanted < least {
                return (least, why);
            }
        }
        (wanted, WITHIN_RANGE)
    }

    /// How far the policies let replicas go.
    fn limit(&self, rules: Option<&HPAScalingRules>, current: i32, now: Timestamp, direction: Direction) -> i32 {
        let select = rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let limits = rules.iter().flat_map(|rules| rules.policies.iter().flatten()).map(|policy| {
            let young = self.changes.iter().filter(|(at, _)| *at > since(now, policy.period_seconds));
            let changed = young.fold(0_i32, |sum, (_, change)| sum.saturating_add(*change));
            direction.of(policy, current.saturating_sub(changed))
        });
        // The policy that lets less change is the lower limit when replicas rise, and the higher one when they fall.
        let limit = if (select == "Min") == (direction == Direction::Up) { limits.min() } else { limits.max() };
        limit.unwrap_or(current)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    /// What a policy makes of the replicas that there were when its period began.
    #[expect(clippy::cast_possible_truncation, reason = "floats saturate; a replica count fits")]
    fn of(self, policy: &HPAScalingPolicy, start: i32) -> i32 {
        let is_share = policy.type_ == "Percent";
        let share = f64::from(policy.value) / 100.0;
        match (self, is_share) {
            (Self::Up, false) => start.saturating_add(policy.value),
            (Self::Down, false) => start.saturating_sub(policy.value),
            // Rounded up, as a small share of few would be none.
            (Self::Up, true) => (f64::from(start) * (1.0 + share)).ceil() as i32,
            (Self::Down, true) => (f64::from(start) * (1.0 - share)) as i32,
        }
    }
}

fn bounded_by_default(spec: &HorizontalPodAutoscalerSpec, current: i32, wanted: i32) -> (i32, Why) {
    let rise = current.saturating_mul(2).max(4);
    let (most, why) = if spec.max_replicas > rise { (rise, RISES_TOO_FAST) } else { (spec.max_replicas, TOO_MANY) };
    if wanted < min_replicas(spec) {
        (min_replicas(spec), TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, WITHIN_RANGE)
    }
}

fn since(now: Timestamp, seconds: i32) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(behavior: Value) -> HorizontalPodAutoscalerSpec {
        let target = json!({"kind": "Deployment", "name": "d"});
        let spec = json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 100, "behavior": behavior});
        serde_json::from_value(spec).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Follows recommendations, and says what became of the last.
    fn follow(
        spec: &HorizontalPodAutoscalerSpec,
        mut current: i32,
        recommended: &[(i64, i32)],
    ) -> (i32, &'static str, &'static str) {
        let mut memory = Memory::default();
        memory.begin(current, at(1000));
        let mut last = (current, "", "");
        for (second, recommended) in recommended {
            let step = memory.step(spec, (current, *recommended), at(*second));
            memory.changed(current, step.replicas, at(*second));
            current = step.replicas;
            assert_eq!(step.is_limited, step.limit != WITHIN_RANGE);
            last = (current, step.able.0, step.limit.0);
        }
        last
    }

    #[test]
    fn without_a_behavior_replicas_double_and_fall_late() {
        let plain = spec(Value::Null);
        assert_eq!(follow(&plain, 3, &[(1015, 50)]), (6, "ReadyForNewScale", "ScaleUpLimit"));
        assert_eq!(follow(&plain, 1, &[(1015, 50)]), (4, "ReadyForNewScale", "ScaleUpLimit"));
        assert_eq!(follow(&plain, 90, &[(1015, 150)]), (100, "ReadyForNewScale", "TooManyReplicas"));
        assert_eq!(follow(&plain, 10, &[(1200, 4)]), (10, "ScaleDownStabilized", "DesiredWithinRange"));
        assert_eq!(follow(&plain, 10, &[(1200, 4), (1301, 4)]), (4, "ReadyForNewScale", "DesiredWithinRange"));
        assert_eq!(follow(&plain, 10, &[(1200, 1), (1301, 1)]), (2, "ReadyForNewScale", "TooFewReplicas"));
    }

    #[test]
    fn policies_bound_what_changes_in_a_period() {
        let up = |select: &str| {
            let policies = json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]);
            let up = json!({"policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": 0});
            spec(json!({ "scaleUp": up }))
        };
        assert_eq!(follow(&up("Max"), 3, &[(1015, 50)]), (7, "ReadyForNewScale", "ScaleUpLimit"));
        assert_eq!(follow(&up("Max"), 10, &[(1015, 50)]), (20, "ReadyForNewScale", "ScaleUpLimit"));
        assert_eq!(follow(&up("Min"), 10, &[(1015, 50)]), (14, "ReadyForNewScale", "ScaleUpLimit"));
        assert_eq!(follow(&up("Min"), 10, &[(1015, 50), (1020, 50)]).0, 14, "once in a period");
        assert_eq!(follow(&up("Min"), 10, &[(1015, 50), (1031, 50)]).0, 18);
        assert_eq!(follow(&up("Disabled"), 10, &[(1015, 50)]), (10, "ReadyForNewScale", "ScaleUpLimit"));
        let down = json!({"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}], "stabilizationWindowSeconds": 0});
        let down = spec(json!({ "scaleDown": down }));
        assert_eq!(follow(&down, 20, &[(1015, 5)]), (18, "ReadyForNewScale", "ScaleDownLimit"));
        assert_eq!(follow(&down, 20, &[(1015, 5), (1030, 5)]).0, 18);
        assert_eq!(follow(&down, 20, &[(1015, 5), (1076, 5)]).0, 16);
    }

    #[test]
    fn windows_hold_recommendations_in_both_directions() {
        let policies = json!([{"type": "Pods", "value": 100, "periodSeconds": 15}]);
        let slow = spec(json!({"scaleUp": {"policies": policies, "stabilizationWindowSeconds": 60}}));
        assert_eq!(follow(&slow, 3, &[(1015, 9)]), (3, "ScaleUpStabilized", "DesiredWithinRange"));
        assert_eq!(follow(&slow, 3, &[(1015, 9), (1061, 8)]).0, 8, "the lowest that is young");
        let fast = spec(json!({"scaleDown": {"policies": policies, "stabilizationWindowSeconds": 30}}));
        assert_eq!(follow(&fast, 9, &[(1015, 3)]), (9, "ScaleDownStabilized", "DesiredWithinRange"));
        assert_eq!(follow(&fast, 9, &[(1015, 3), (1031, 4)]).0, 4, "the highest that is young");
    }
}
