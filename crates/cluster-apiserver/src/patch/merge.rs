//! Merge patch as kube-apiserver's library carries it out.
//!
//! Unlike the standard, what is laid where no object was has no nulls in it, not even in the objects of its lists.

use serde_json::{Map, Value};

/// Lays `patch` over `object`.
pub fn apply(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
            continue;
        }
        match (object.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => apply(old, new),
            (Some(old @ Value::Object(_)), new) => *old = new.clone(),
            (_, new) => {
                object.insert(name.clone(), without_nulls(new.clone()));
            }
        }
    }
}

/// A value without the fields that are null.
pub(crate) fn without_nulls(mut value: Value) -> Value {
    drop_nulls(&mut value);
    value
}

/// Drops the fields that are null, here and below.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_take_away_and_are_not_kept() {
        let merged = |mut object: Value, patch: Value| {
            apply(crate::value::as_object(&mut object), patch.as_object().expect("a patch"));
            object
        };
        let old = json!({"a": {"b": 1, "c": 2}, "l": [1], "t": "x", "n": null});
        let patch = json!({"a": {"b": null, "d": {"e": null}}, "l": [{"f": null, "g": [null]}], "t": {"h": null}, "n": {"i": null}});
        let new = json!({"a": {"c": 2, "d": {}}, "l": [{"g": [null]}], "t": {}, "n": {}});
        assert_eq!(merged(old, patch), new);
        let instead = json!([{"b": null}]);
        assert_eq!(merged(json!({"a": {}}), json!({"a": instead})), json!({"a": instead}), "as it comes");
        assert_eq!(merged(json!({"a": {}, "b": 1}), json!({"a": null, "c": null})), json!({"b": 1}));
    }
}
