//! What the PodAutoscaler says after a decision.

use super::bounds::active_threshold;
use jiff::Timestamp;
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::config::Autoscaler;

const NO_TRAFFIC: (&str, &str) = ("NoTraffic", "The target is not receiving traffic.");
const TIMED_OUT: (&str, &str) = ("TimedOut", "The target could not be activated.");
const QUEUED: (&str, &str) = ("Queued", "Requests to the target are being buffered as resources are provisioned.");

/// Says how many pods are wanted and ready, and whether the revision is active.
///
/// `want` is -1 if nothing is known; that does not undo a wish that was known.
pub fn update(autoscaler: &mut PodAutoscaler, want: i32, ready: i32, config: &Autoscaler, now: Timestamp) {
    let threshold = active_threshold(autoscaler, config);
    let status = &mut autoscaler.status;
    status.actual_scale = Some(ready);
    if want != -1 || status.desired_scale.is_none_or(|desired| desired < 0) {
        status.desired_scale = Some(want);
    }
    if ready >= threshold && !status.service_name.is_empty() {
        status.mark_scale_target_initialized(now);
    }

    let stays = want > 0 || !status.is_inactive();
    if want == 0 || threshold == 0 {
        let gave_up = status.is_activating() && threshold > 0;
        let (reason, message) = if gave_up { TIMED_OUT } else { NO_TRAFFIC };
        status.mark_inactive(reason, message, now);
    } else if ready < threshold && stays {
        status.mark_activating(QUEUED.0, QUEUED.1, now);
    } else if ready < threshold {
        status.mark_inactive(NO_TRAFFIC.0, NO_TRAFFIC.1, now);
    } else if stays {
        status.mark_active(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knative_apis::autoscaling::ACTIVE;
    use knative_apis::condition::{ConditionStatus, ConditionedStatus};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A PodAutoscaler whose `Active` is as given.
    fn pa(active: ConditionStatus, initialized: bool, min: i32) -> PodAutoscaler {
        let mut autoscaler: PodAutoscaler = serde_json::from_value(json!({
            "metadata": {"annotations": {"autoscaling.knative.dev/min-scale": min.to_string()}},
            "status": {"serviceName": "hello-1"},
        }))
        .expect("a PodAutoscaler");
        autoscaler.status.begin(0, NOW);
        if initialized {
            autoscaler.status.mark_scale_target_initialized(NOW);
        }
        match active {
            ConditionStatus::True => autoscaler.status.mark_active(NOW),
            ConditionStatus::False => autoscaler.status.mark_inactive("Before", "", NOW),
            ConditionStatus::Unknown => autoscaler.status.mark_activating("Before", "", NOW),
        }
        autoscaler
    }

    #[test]
    fn active_follows_want_and_ready() {
        use ConditionStatus::{False, True, Unknown};
        let config = Autoscaler::default();
        for (before, initialized, min, want, ready, after) in [
            (Unknown, false, 0, -1, 0, (Unknown, "Queued")),
            (Unknown, false, 0, 1, 0, (Unknown, "Queued")),
            (Unknown, false, 0, 1, 1, (True, "")),
            (Unknown, true, 0, 0, 0, (False, "TimedOut")),
            (True, true, 0, 0, 1, (False, "NoTraffic")),
            (True, true, 0, 1, 0, (Unknown, "Queued")),
            (True, true, 2, 2, 1, (Unknown, "Queued")),
            (True, true, 2, 2, 2, (True, "")),
            (False, true, 0, -1, 0, (False, "NoTraffic")),
            (False, true, 0, 1, 0, (Unknown, "Queued")),
            (False, true, 0, 3, 1, (True, "")),
            (False, true, 0, -1, 1, (False, "Before")),
        ] {
            let mut autoscaler = pa(before, initialized, min);
            update(&mut autoscaler, want, ready, &config, NOW);
            let active = autoscaler.status.condition(ACTIVE).expect("Active");
            let case = (before, initialized, min, want, ready);
            assert_eq!((active.status, active.reason.as_str()), after, "{case:?}");
        }
    }

    #[test]
    fn a_revision_may_begin_without_pods() {
        let config = Autoscaler { allow_zero_initial_scale: true, initial_scale: 0, ..Autoscaler::default() };
        let mut autoscaler = pa(ConditionStatus::Unknown, false, 0);
        update(&mut autoscaler, -1, 0, &config, NOW);
        assert!(autoscaler.status.is_inactive() && autoscaler.status.is_scale_target_initialized());
        assert_eq!(autoscaler.status.condition(ACTIVE).map(|c| c.reason.as_str()), Some("NoTraffic"));
    }

    #[test]
    fn what_was_wanted_is_not_forgotten() {
        let config = Autoscaler::default();
        let mut autoscaler = pa(ConditionStatus::True, true, 0);
        update(&mut autoscaler, 3, 2, &config, NOW);
        update(&mut autoscaler, -1, 2, &config, NOW);
        assert_eq!((autoscaler.status.desired_scale, autoscaler.status.actual_scale), (Some(3), Some(2)));
    }
}
