//! Small readers and writers over JSON objects.
//!
//! Objects of all kinds are `serde_json::Value`s here. Reading by name with `value["spec"]["replicas"]` is total
//! (absent is `Null`); these helpers add the readings of Go's structs, where absent, `null` and the zero value are one:
//! an absent string is empty, an absent list has no items. Writers create the objects on their way.

use serde_json::{Map, Value};

/// The value at `path`, `None` if any part of it is absent or `null`.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let mut here = value;
    for name in path {
        here = here.get(*name)?;
    }
    (!here.is_null()).then_some(here)
}

/// The string at `path`, empty if there is none.
pub fn str_at<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at `path`.
pub fn i64_at(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The boolean at `path`.
pub fn bool_at(value: &Value, path: &[&str]) -> Option<bool> {
    at(value, path).and_then(Value::as_bool)
}

/// The items of the list at `path`, none if there is no list.
pub fn list_at<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The strings of the list at `path`.
pub fn strings_at<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    list_at(value, path).iter().filter_map(Value::as_str).collect()
}

/// The entries of the object at `path`, none if there is no object.
pub fn entries_at<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
    at(value, path).and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// The value at `path` to change, `None` if any part of it is absent or `null`.
pub fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    let mut here = value;
    for name in path {
        here = here.get_mut(*name)?;
    }
    (!here.is_null()).then_some(here)
}

/// The items of the list at `path` to change, none if there is no list.
pub fn list_at_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut [Value] {
    at_mut(value, path).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The object at `path`, made if it is absent or not an object.
pub fn object_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut here = as_object(value);
    for name in path {
        here = as_object(here.entry(*name).or_insert(Value::Null));
    }
    here
}

/// The field `name` to change, `Null` if it was absent.
pub fn child_mut<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    as_object(value).entry(name).or_insert(Value::Null)
}

/// `value` as an object; anything else becomes an empty one.
pub fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

/// Sets `name` unless it has a value.
pub fn set_default(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if is_absent(map.get(name)) {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sets the string `name` unless it is set and not empty, as the defaults of Go's strings do.
pub fn set_default_str(map: &mut Map<String, Value>, name: &str, value: &str) {
    if map.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
        map.insert(name.to_owned(), Value::from(value));
    }
}

/// Whether a field is not there or `null`.
pub fn is_absent(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_null)
}

/// Makes `name` in `to` what it is in `from`, absent if it is absent there.
pub fn copy_field(to: &mut Value, from: &Value, name: &str) {
    match from.get(name) {
        Some(value) => {
            as_object(to).insert(name.to_owned(), value.clone());
        }
        None => {
            as_object(to).remove(name);
        }
    }
}

/// Objects may be nested so deeply: what is stored must be read again, and readers of JSON have bounds of their own.
pub const MAX_DEPTH: usize = 100;

/// Whether lists and objects are nested more than `max` deep. Looks no deeper than that.
pub fn is_deeper_than(value: &Value, max: usize) -> bool {
    let below = |inner: &Value| max.checked_sub(1).is_none_or(|max| is_deeper_than(inner, max));
    match value {
        Value::Array(items) => max == 0 || items.iter().any(below),
        Value::Object(fields) => max == 0 || fields.values().any(below),
        _ => false,
    }
}

/// Whether two values are the same to Kubernetes: absent, `null`, and empty lists and maps are one.
pub fn semantic_eq(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| semantic_eq(value, b.get(key).unwrap_or(&Value::Null)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| semantic_eq(a, b)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A value as Go prints it with `%v`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut entries: Vec<_> = fields.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let texts: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", texts.join(" "))
        }
        other => other.to_string(),
    }
}

/// The type that Go has for a value of JSON.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_reads_as_zero() {
        let value = json!({"a": {"b": "x", "n": null}, "l": ["p", "q"]});
        assert_eq!(str_at(&value, &["a", "b"]), "x");
        assert_eq!(str_at(&value, &["a", "c"]), "");
        assert!(at(&value, &["a", "n"]).is_none());
        assert_eq!(strings_at(&value, &["l"]), ["p", "q"]);
        assert!(list_at(&value, &["a"]).is_empty());
    }

    #[test]
    fn writers_make_their_way() {
        let mut value = json!({"spec": null});
        set_default(object_at(&mut value, &["spec", "strategy"]), "type", "X");
        set_default(object_at(&mut value, &["spec", "strategy"]), "type", "Y");
        assert_eq!(value, json!({"spec": {"strategy": {"type": "X"}}}));
    }

    #[test]
    fn depth_counts_lists_and_objects() {
        let value = json!({"a": [{"b": 1}]});
        assert!(is_deeper_than(&value, 2) && !is_deeper_than(&value, 3));
        assert!(!is_deeper_than(&json!("text"), 0) && is_deeper_than(&json!([]), 0));
    }

    #[test]
    fn emptiness_is_one_thing() {
        assert!(semantic_eq(&json!({"a": [], "b": 1}), &json!({"b": 1, "c": {}})));
        assert!(semantic_eq(&json!(null), &json!([])));
        assert!(!semantic_eq(&json!({"a": 0}), &json!({})));
        assert!(!semantic_eq(&json!([1]), &json!([1, 2])));
    }
}
