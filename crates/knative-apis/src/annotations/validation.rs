//! What is wrong with autoscaling annotations, in Knative's words.

use super::*;
use crate::autoscaling::{HPA, KPA, METRIC_CONCURRENCY, METRIC_RPS};
use crate::config::Autoscaler;
use crate::field_error::{FieldErrors, invalid_value, out_of_bounds};
use crate::go_text::float;
use std::num::IntErrorKind;

/// What is wrong with the annotations of a revision; paths are the annotations' keys.
pub fn validate_autoscaling(annotations: &BTreeMap<String, String>, config: &Autoscaler) -> FieldErrors {
    class(annotations)
        .and(scales(annotations, config))
        .and(floats(annotations))
        .and(window(annotations))
        .and(retention(annotations))
        .and(scale_down_delay(annotations))
        .and(metric(annotations, config))
        .and(aggregation(annotations))
        .and(initial_scale(annotations, config))
}

fn class(annotations: &BTreeMap<String, String>) -> FieldErrors {
    match CLASS.get(annotations) {
        Some((key, class)) if class.ends_with(".knative.dev") && class != KPA && class != HPA => {
            invalid_value(class, key)
        }
        _ => FieldErrors::none(),
    }
}

/// A count that is not negative; 0 when it is absent or wrong.
fn count(annotations: &BTreeMap<String, String>, key: KeyPriority) -> (i32, FieldErrors) {
    let Some((key, text)) = key.get(annotations) else { return (0, FieldErrors::none()) };
    match text.parse::<i32>() {
        Ok(number) if number >= 0 => (number, FieldErrors::none()),
        Ok(_) => (0, out_of_bounds(text, 0, i32::MAX, key)),
        Err(error) if is_out_of_range(&error) => (0, out_of_bounds(text, 0, i32::MAX, key)),
        Err(_) => (0, invalid_value(text, key)),
    }
}

fn is_out_of_range(error: &std::num::ParseIntError) -> bool {
    matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow)
}

fn scales(annotations: &BTreeMap<String, String>, config: &Autoscaler) -> FieldErrors {
    let (min, mut errors) = count(annotations, MIN_SCALE);
    let (max, max_errors) = count(annotations, MAX_SCALE);
    errors.also(max_errors);
    if max != 0 && max < min {
        let keys = [MAX_SCALE.preferred(), MIN_SCALE.preferred()];
        errors.also(FieldErrors::one(format!("max-scale={max} is less than min-scale={min}"), keys));
    }
    if let Some((key, _)) = MAX_SCALE.get(annotations) {
        errors.also(max_within_limit(key, max, config.max_scale_limit));
    }
    if let Some((key, text)) = ACTIVATION_SCALE.get(annotations) {
        errors.also(activation_scale(key, text, min, max));
    }
    errors
}

fn max_within_limit(key: &str, max: i32, limit: i32) -> FieldErrors {
    match (limit, max) {
        (0, _) => FieldErrors::none(),
        (_, 0) => FieldErrors::one(format!("max-scale=0 (unlimited), must be less than {limit}"), [key]),
        _ if max > limit => out_of_bounds(max, 1, limit, key),
        _ => FieldErrors::none(),
    }
}

fn activation_scale(key: &str, text: &str, min: i32, max: i32) -> FieldErrors {
    let Ok(scale) = text.parse::<i32>() else { return invalid_value(text, key) };
    let message = if min > scale {
        format!("min-scale={min} is greater than activation-scale={scale}")
    } else if max < scale && max != 0 {
        format!("max-scale={max} is less than activation-scale={scale}")
    } else if scale < 2 {
        format!("activation-scale={scale} must be greater than 1")
    } else {
        return FieldErrors::none();
    };
    FieldErrors::one(message, [key])
}

fn floats(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let percentage = |key: KeyPriority, (low, high): (f64, f64)| match key.get(annotations) {
        None => FieldErrors::none(),
        Some((key, text)) => match number(text) {
            None => invalid_value(text, key),
            Some(number) if number < low || number > high => out_of_bounds(text, float(low), float(high), key),
            Some(_) => FieldErrors::none(),
        },
    };
    percentage(PANIC_WINDOW_PERCENTAGE, PANIC_WINDOW_PERCENTAGE_RANGE)
        .and(percentage(PANIC_THRESHOLD_PERCENTAGE, PANIC_THRESHOLD_PERCENTAGE_RANGE))
        .and(target(annotations))
        .and(percentage(TARGET_UTILIZATION_PERCENTAGE, (1.0, 100.0)))
        .and(burst_capacity(annotations))
}

/// A number, which may be infinite: bounds refuse that.
fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| !number.is_nan())
}

fn target(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let Some((key, text)) = TARGET.get(annotations) else { return FieldErrors::none() };
    match number(text) {
        Some(number) if number < TARGET_MIN => {
            FieldErrors::one(format!("target {text} should be at least {}", float(TARGET_MIN)), [key])
        }
        Some(number) if number.is_finite() => FieldErrors::none(),
        _ => invalid_value(text, key),
    }
}

fn burst_capacity(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let Some((key, text)) = TARGET_BURST_CAPACITY.get(annotations) else { return FieldErrors::none() };
    match finite(text) {
        Some(number) if number >= 0.0 || number == -1.0 => FieldErrors::none(),
        _ => invalid_value(text, key),
    }
}

fn window(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let Some((_, text)) = WINDOW.get(annotations) else { return FieldErrors::none() };
    bounded_duration(WINDOW.preferred(), text, WINDOW_MIN, true)
}

fn retention(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let Some((key, text)) = SCALE_TO_ZERO_POD_RETENTION_PERIOD.get(annotations) else { return FieldErrors::none() };
    bounded_duration(key, text, SignedDuration::ZERO, false)
}

fn scale_down_delay(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let Some((key, text)) = SCALE_DOWN_DELAY.get(annotations) else { return FieldErrors::none() };
    bounded_duration(key, text, SignedDuration::ZERO, true)
}

fn bounded_duration(key: &str, text: &str, least: SignedDuration, whole_seconds: bool) -> FieldErrors {
    match duration::parse(text) {
        Err(_) => invalid_value(text, key),
        Ok(value) if value < least || value > WINDOW_MAX => {
            out_of_bounds(text, duration::format(least), duration::format(WINDOW_MAX), key)
        }
        Ok(value) if whole_seconds && !duration::is_whole_seconds(value) => {
            FieldErrors::one("must be specified with at most second precision", [key])
        }
        Ok(_) => FieldErrors::none(),
    }
}

fn metric(annotations: &BTreeMap<String, String>, config: &Autoscaler) -> FieldErrors {
    let Some((_, metric)) = METRIC.get(annotations) else { return FieldErrors::none() };
    let known = match CLASS.value(annotations).unwrap_or(&config.pod_autoscaler_class) {
        KPA => metric == METRIC_CONCURRENCY || metric == METRIC_RPS,
        HPA => !metric.is_empty(),
        _ => true,
    };
    if known { FieldErrors::none() } else { invalid_value(metric, METRIC.preferred()) }
}

fn aggregation(annotations: &BTreeMap<String, String>) -> FieldErrors {
    // Other classes may have algorithms of their own; Knative looks only at an explicit KPA.
    if CLASS.value(annotations) != Some(KPA) {
        return FieldErrors::none();
    }
    match METRIC_AGGREGATION_ALGORITHM.get(annotations) {
        Some((key, name)) if !name.is_empty() && Aggregation::named(name).is_none() => invalid_value(name, key),
        _ => FieldErrors::none(),
    }
}

fn initial_scale(annotations: &BTreeMap<String, String>, config: &Autoscaler) -> FieldErrors {
    let Some((key, text)) = INITIAL_SCALE.get(annotations) else { return FieldErrors::none() };
    match text.parse::<i64>() {
        Err(_) => invalid_value(text, key),
        Ok(scale) if scale < 0 => invalid_value(text, &format!("{key} must be greater than 0")),
        Ok(0) if !config.allow_zero_initial_scale => invalid_value(text, &format!("{key}=0 not allowed by cluster")),
        Ok(_) => FieldErrors::none(),
    }
}
