//! Overlays that leave nothing behind, and none at all where nothing changes.
//!
//! An overlay touches only what the maker sets; where a maker means the whole (the spec of a child that has no other writer),
//! [`replacing`] adds the nulls that remove the rest.

use base_controller::overlay::overlay;
use base_controller::{Change, Object};
use serde::Serialize;
use serde_json::{Map, Value};

/// `desired` as the fields of an overlay over `base` after which the places at `paths` hold exactly what `desired` says there.
pub(crate) fn replacing<B: Serialize, D: Serialize>(base: &B, desired: &D, paths: &[&[&str]]) -> Value {
    let base = to_value(base).unwrap_or_default();
    let mut fields = to_value(desired).unwrap_or_default();
    for path in paths {
        replace_at(&base, &mut fields, path);
    }
    fields
}

/// The overlay of `fields` over `base`, if it changes anything.
pub(crate) fn change<K: Object<DynamicType = ()>>(base: &K, mut fields: Value) -> Option<Change> {
    drop_empty(&mut fields);
    let before = to_value(base)?;
    (overlay(&before, &fields) != before).then(|| Change::overlay_fields(base, fields))
}

/// No labels are no labels, however that is written: servers drop an empty map, and it would be sent again and again.
fn drop_empty(fields: &mut Value) {
    if let Some(Value::Object(meta)) = fields.get_mut("metadata") {
        meta.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
}

fn to_value<T: Serialize>(object: &T) -> Option<Value> {
    serde_json::to_value(object).ok()
}

fn replace_at(base: &Value, fields: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return add_nulls(base, fields) };
    let (Some(base), Value::Object(fields)) = (base.get(*first), fields) else { return };
    if rest.is_empty() && !fields.contains_key(*first) {
        fields.insert((*first).to_owned(), Value::Null);
        return;
    }
    let field = fields.entry(*first).or_insert_with(|| Value::Object(Map::new()));
    replace_at(base, field, rest);
}

/// Adds a null for every field that `base` has and `fields` has not.
fn add_nulls(base: &Value, fields: &mut Value) {
    match (base, fields) {
        (Value::Object(base), Value::Object(fields)) => {
            for (name, value) in base {
                match fields.get_mut(name) {
                    Some(field) => add_nulls(value, field),
                    None => {
                        fields.insert(name.clone(), Value::Null);
                    }
                }
            }
        }
        // Which item goes over which is the overlay's business, so each item loses what any of the base's items has.
        (Value::Array(base), Value::Array(fields)) => {
            let any = union(base);
            fields.iter_mut().filter(|field| field.is_object()).for_each(|field| add_nulls(&any, field));
        }
        _ => {}
    }
}

/// All fields of all items, as one.
fn union(items: &[Value]) -> Value {
    let mut all = Value::Object(Map::new());
    items.iter().for_each(|item| join(&mut all, item));
    all
}

fn join(all: &mut Value, item: &Value) {
    match (all, item) {
        (Value::Object(all), Value::Object(item)) => {
            for (name, value) in item {
                match all.get_mut(name) {
                    Some(known) => join(known, value),
                    None => {
                        all.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(all), Value::Array(items)) => all.extend(items.iter().cloned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_maker_leaves_out_goes() {
        let base = json!({
            "metadata": {"labels": {"old": "1", "kept": "2"}, "uid": "u"},
            "spec": {"containers": [
                {"name": "a", "args": ["x"], "resources": {"limits": {"cpu": "1", "memory": "2"}}},
                {"name": "b", "image": "b"},
            ], "timeout": 3},
        });
        let desired = json!({
            "metadata": {"labels": {"kept": "2"}},
            "spec": {"containers": [{"name": "b"}, {"name": "a", "resources": {"limits": {"cpu": "1"}}}]},
        });
        let fields = replacing(&base, &desired, &[&["metadata", "labels"], &["spec"]]);
        let expected = json!({
            "metadata": {"labels": {"kept": "2"}, "uid": "u"},
            "spec": {"containers": [{"name": "b"}, {"name": "a", "resources": {"limits": {"cpu": "1"}}}]},
        });
        assert_eq!(overlay(&base, &fields), expected);
    }

    #[test]
    fn a_place_that_the_maker_does_not_fill_is_emptied() {
        let base = json!({"metadata": {"annotations": {"a": "1"}}});
        let fields = replacing(&base, &json!({"metadata": {}}), &[&["metadata", "annotations"], &["spec", "none"]]);
        assert_eq!(overlay(&base, &fields), json!({"metadata": {}}));
    }
}
