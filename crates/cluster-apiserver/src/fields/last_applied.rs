//! The annotation in which kubectl keeps what it applied before servers could: it makes the first server-side apply of such an object no
//! conflict with oneself.

use serde_json::Value;

use super::compare::compare;
use super::of::{errors_of, fields_of};
use super::schema::Place;
use super::set::FieldSet;
use crate::field_error::go_json;
use crate::value::{at_mut, entries_at, object_at, str_at};

/// The only manager who is known to keep it.
pub(crate) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const PATH: &[&str] = &["metadata", "annotations", ANNOTATION];
/// All annotations of an object together may have so many bytes.
const MAX_ANNOTATIONS_BYTES: usize = 256 << 10;

/// The fields that the annotation names and that are still as it says; `None` if there is no such annotation of this version.
pub(crate) fn fields(place: Place<'_>, live: &Value) -> Option<FieldSet> {
    let last: Value = serde_json::from_str(str_at(live, PATH)).ok().filter(Value::is_object)?;
    if str_at(&last, &["apiVersion"]) != str_at(live, &["apiVersion"]) || !errors_of(place, &last).is_empty() {
        return None;
    }
    let difference = compare(place, &last, live);
    Some(fields_of(place, &last).difference(&difference.changed()).difference(&difference.removed))
}

/// Brings the annotation of an object that has one up to date with what was applied.
pub(crate) fn refresh(object: &mut Value, applied: &Value) {
    if str_at(object, PATH).is_empty() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = at_mut(&mut applied, &["metadata", "annotations"]) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{}\n", go_json(&applied));
    let others = entries_at(object, &["metadata", "annotations"]).filter(|(name, _)| *name != ANNOTATION);
    let bytes: usize = others.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    let annotations = object_at(object, &["metadata", "annotations"]);
    if bytes + ANNOTATION.len() + text.len() > MAX_ANNOTATIONS_BYTES {
        annotations.remove(ANNOTATION);
    } else {
        annotations.insert(ANNOTATION.to_owned(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_still_so_is_the_annotations() {
        let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "1", "c": "1"}});
        let object = |annotation: &Value| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "2", "d": "1"},
                   "metadata": {"annotations": {ANNOTATION: annotation.to_string()}}})
        };
        let found = fields(Place::Any, &object(&last)).expect("annotation");
        assert_eq!(found.to_value()["f:data"], json!({".": {}, "f:a": {}}));
        let other = json!({"apiVersion": "v2", "data": {"a": "1"}});
        assert_eq!(fields(Place::Any, &object(&other)), None);
        assert_eq!(fields(Place::Any, &object(&json!("text"))), None);
    }

    #[test]
    fn the_annotation_follows_what_is_applied() {
        let applied = json!({"data": {"a": "<"}, "metadata": {"annotations": {ANNOTATION: "old", "x": "y"}}});
        let mut object = json!({"metadata": {"annotations": {ANNOTATION: "old"}}});
        refresh(&mut object, &applied);
        let text = "{\"data\":{\"a\":\"\\u003c\"},\"metadata\":{\"annotations\":{\"x\":\"y\"}}}\n";
        assert_eq!(str_at(&object, PATH), text);
        let mut large =
            json!({"metadata": {"annotations": {ANNOTATION: "old", "x": "y".repeat(MAX_ANNOTATIONS_BYTES)}}});
        refresh(&mut large, &applied);
        assert_eq!(str_at(&large, PATH), "");
        let mut without = json!({"metadata": {}});
        refresh(&mut without, &applied);
        assert_eq!(without, json!({"metadata": {}}));
    }
}
