//! What scales a Revision, in numbers. Pure.

use knative_apis::autoscaling::{KPA, PodAutoscaler};
use knative_apis::config::Autoscaler;
use knative_apis::networking::{ServerlessService, ServerlessServiceMode};
use knative_logic::scale::bounds::Bounds;
use knative_logic::scale::{DeciderSpec, targets};

use super::report::{Measured, Scaling, Windows};

/// What the PodAutoscaler asks for, with the operator's settings where it does not ask, and what has been decided.
pub(super) fn of(
    autoscaler: &PodAutoscaler,
    serverless_service: Option<&ServerlessService>,
    measured: Option<Measured>,
    config: &Autoscaler,
) -> Scaling {
    let is_own = autoscaler.class() == KPA;
    let spec = DeciderSpec::new(autoscaler, config);
    let windows = Windows {
        stable_s: spec.stable_window.as_secs_f64(),
        panic_s: targets::panic_window(autoscaler, config).as_secs_f64(),
        panic_threshold_percent: spec.panic_threshold * 100.0,
        target_burst_capacity: spec.target_burst_capacity,
    };
    let Bounds { min, max } = Bounds::of(autoscaler, config);
    Scaling {
        class: autoscaler.class().to_owned(),
        metric: autoscaler.metric().to_owned(),
        target: if is_own { Some(spec.target_value) } else { autoscaler.annotations().target },
        total: is_own.then_some(spec.total_value),
        windows: is_own.then_some(windows),
        min,
        max,
        desired: autoscaler.status.desired_scale.filter(|desired| *desired >= 0),
        actual: autoscaler.status.actual_scale,
        is_reachable: spec.reachable,
        has_activator_in_path: serverless_service.map(|service| service.spec.mode == ServerlessServiceMode::Proxy),
        measured,
    }
}
