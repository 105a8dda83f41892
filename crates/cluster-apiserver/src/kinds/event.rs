//! Event, in its two versions: `v1`, which is stored, and `events.k8s.io/v1`, a second view of the same objects.
//!
//! The versions differ in names (`message` is `note`, `involvedObject` is `regarding`, …) and in validation: the newer
//! one is strict and its objects do not change but for `series`. An object says with its apiVersion which it is.

use serde_json::{Map, Value, json};

use super::{
    Strategy,
    check::{Errors, immutable, texts},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, i64_at, str_at},
};

/// The fields that have another name in `events.k8s.io/v1`: there, and in `v1`.
const RENAMED: [(&str, &str); 7] = [
    ("reportingController", "reportingComponent"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// A `v1` Event.
pub(super) struct CoreEvent;

/// An `events.k8s.io/v1` Event.
pub(super) struct EventsEvent;

/// From `events.k8s.io/v1` to `v1`.
pub(super) fn to_core(event: &Value) -> Value {
    convert(event, "v1", |name| RENAMED.iter().find(|pair| pair.0 == name).map(|pair| pair.1))
}

/// From `v1` to `events.k8s.io/v1`.
pub(super) fn from_core(event: &Value) -> Value {
    convert(event, "events.k8s.io/v1", |name| RENAMED.iter().find(|pair| pair.1 == name).map(|pair| pair.0))
}

fn convert(event: &Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let mut out = Map::new();
    for (name, value) in event.as_object().into_iter().flatten() {
        out.insert(rename(name).unwrap_or(name).to_owned(), value.clone());
    }
    if out.contains_key("apiVersion") {
        out.insert("apiVersion".to_owned(), json!(api_version));
    }
    let mut out = Value::Object(out);
    // Only the canonical form leaves out what the other version always shows.
    crate::strict::canonicalize(&mut out);
    out
}

impl Strategy for CoreEvent {
    fn validate_create(&self, event: &Value, errors: &mut Errors) {
        validate_common(event, "reportingComponent", errors);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

impl Strategy for EventsEvent {
    fn validate_create(&self, event: &Value, errors: &mut Errors) {
        let core = to_core(event);
        validate_common(&core, "reportingController", errors);
        validate_series(event, errors);
        let root = FieldPath::Root;
        if at(event, &["eventTime"]).is_none() {
            errors.push(FieldError::required(&root.child("eventTime"), ""));
        }
        let kind = str_at(event, &["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid(&root.child("type"), "", &format!("has invalid value: {kind}")));
        }
        for name in ["firstTimestamp", "lastTimestamp", "count"] {
            if at(&core, &[name]).is_some() {
                errors.push(FieldError::invalid(&root.child(name), "", "needs to be unset"));
            }
        }
        if core["source"].as_object().is_some_and(|source| !source.is_empty()) {
            errors.push(FieldError::invalid(&root.child("source"), "", "needs to be unset"));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let (core, old_core) = (to_core(new), to_core(old));
        validate_common(&core, "reportingController", errors);
        if core["series"] != old_core["series"] {
            validate_series(new, errors);
        }
        let root = FieldPath::Root;
        for name in [
            "involvedObject",
            "reason",
            "message",
            "source",
            "firstTimestamp",
            "lastTimestamp",
            "count",
            "type",
            "eventTime",
            "action",
            "related",
            "reportingInstance",
        ] {
            immutable(&core, &old_core, name, &root, errors);
        }
        immutable(new, old, "reportingController", &root, errors);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_series(event: &Value, errors: &mut Errors) {
    let Some(series) = at(event, &["series"]) else { return };
    let root = FieldPath::Root;
    if i64_at(series, &["count"]).unwrap_or_default() < 2 {
        errors.push(FieldError::invalid(&root.child("series.count"), "", "should be at least 2"));
    }
    if at(series, &["lastObservedTime"]).is_none() {
        errors.push(FieldError::required(&root.child("series.lastObservedTime"), ""));
    }
}

/// What holds for both versions; events with an `eventTime` are of the new kind and have more to say.
fn validate_common(event: &Value, controller_name: &str, errors: &mut Errors) {
    const TEXT: &str = "does not match event.namespace";
    let root = FieldPath::Root;
    let path = root.child("involvedObject");
    let namespace = str_at(event, &["metadata", "namespace"]);
    let involved = str_at(event, &["involvedObject", "namespace"]);
    let is_new = at(event, &["eventTime"]).is_some();
    let is_match = match (is_new, involved.is_empty()) {
        (false, true) => matches!(namespace, "" | "default"),
        (false, false) => namespace == involved,
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (true, false) => true,
    };
    if !is_match {
        errors.push(FieldError::invalid(&path.child("namespace"), involved, TEXT));
    }
    if !is_new {
        return;
    }
    let controller = str_at(event, &["reportingComponent"]);
    if controller.is_empty() {
        errors.push(FieldError::required(&root.child(controller_name), ""));
    }
    texts(&root.child(controller_name), controller, names::qualified_name(controller), errors);
    for (name, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
        let text = str_at(event, &[name]);
        if text.is_empty() && name != "message" {
            errors.push(FieldError::required(&root.child(name), ""));
        }
        if text.len() > max {
            errors.push(FieldError::invalid(&root.child(name), "", &format!("can have at most {max} characters")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_two_views() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"}, "eventTime": null,
            "involvedObject": {"kind": "Pod"}, "reason": "R", "message": "m", "source": {}, "count": 1, "type": "Normal",
            "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:00:00Z",
            "reportingComponent": "", "reportingInstance": ""
        });
        let new = from_core(&core);
        assert_eq!(
            new,
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
                "eventTime": null, "regarding": {"kind": "Pod"}, "reason": "R", "note": "m", "deprecatedSource": {},
                "deprecatedCount": 1, "type": "Normal", "deprecatedFirstTimestamp": "2024-01-01T00:00:00Z",
                "deprecatedLastTimestamp": "2024-01-01T00:00:00Z"
            })
        );
        assert_eq!(to_core(&new), core);
    }
}
