//! A HorizontalPodAutoscaler's status and its conditions.

use base_rt::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The status as it is known.
pub(super) fn before(autoscaler: &HorizontalPodAutoscaler) -> HorizontalPodAutoscalerStatus {
    autoscaler.status.clone().unwrap_or_default()
}

/// Sets a condition; its time is that of the last change of its status.
pub(super) fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    (type_, value): (&str, &str),
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|condition| condition.type_ == type_ && condition.status == value);
    let condition = HorizontalPodAutoscalerCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: known.and_then(|known| known.last_transition_time.clone()).or(Some(Time(now))),
        observed_generation: None,
    };
    match conditions.iter_mut().find(|known| known.type_ == type_) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}
