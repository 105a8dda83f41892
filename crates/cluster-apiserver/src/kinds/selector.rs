//! Label selectors inside objects: validation, matching, and their text.

use serde_json::Value;

use super::check::{Errors, texts};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::metadata::validate_labels,
    names,
    value::{entries_at, list_at, str_at, strings_at},
};

/// Checks a LabelSelector.
pub(super) fn validate(selector: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    let expressions = path.child("matchExpressions");
    for (index, expression) in list_at(selector, &["matchExpressions"]).iter().enumerate() {
        validate_expression(expression, &expressions.index(index), errors);
    }
}

fn validate_expression(expression: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let values = strings_at(expression, &["values"]);
    let field = path.child("values");
    match str_at(expression, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(FieldError::required(&field, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&field, text));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = str_at(expression, &["key"]);
    texts(&path.child("key"), key, names::qualified_name(key), errors);
    for (index, value) in values.iter().enumerate() {
        texts(&field.index(index), value, names::label_value(value), errors);
    }
}

/// Whether a selector selects nothing in particular.
pub(super) fn is_empty(selector: &Value) -> bool {
    entries_at(selector, &["matchLabels"]).next().is_none() && list_at(selector, &["matchExpressions"]).is_empty()
}

/// Whether a LabelSelector selects an object with these labels; one that cannot be understood selects nothing.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    entries_at(selector, &["matchLabels"]).all(|(key, value)| label(key) == value.as_str())
        && list_at(selector, &["matchExpressions"]).iter().all(|expression| {
            let found = label(str_at(expression, &["key"]));
            let values = strings_at(expression, &["values"]);
            match str_at(expression, &["operator"]) {
                "In" => found.is_some_and(|value| values.contains(&value)),
                "NotIn" => found.is_none_or(|value| !values.contains(&value)),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// The selector as kubectl shows it: `a=b,c in (d,e),!f`; `<none>` if it selects everything, `<error>` if it is wrong.
pub(crate) fn text(selector: &Value) -> String {
    if selector.is_null() {
        return "<none>".to_owned();
    }
    let mut parts: Vec<(String, String)> = entries_at(selector, &["matchLabels"])
        .map(|(key, value)| (key.to_owned(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in list_at(selector, &["matchExpressions"]) {
        let key = str_at(expression, &["key"]);
        let mut values = strings_at(expression, &["values"]);
        values.sort_unstable();
        let text = match str_at(expression, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// A map of labels as kubectl shows it: `a=b,c=d`, `<none>` if there are none.
pub(crate) fn labels_text(labels: &Value) -> String {
    let parts: Vec<String> =
        entries_at(labels, &[]).map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let selector = json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["e", "d"]}, {"key": "f", "operator": "DoesNotExist"}]
        });
        assert!(matches(&selector, &json!({"a": "b", "c": "d"})));
        assert!(!matches(&selector, &json!({"a": "b", "c": "d", "f": ""})));
        assert!(!matches(&selector, &json!({"c": "d"})));
        assert_eq!(text(&selector), "a=b,c in (d,e),!f");
        assert_eq!(text(&Value::Null), "<none>");
        assert_eq!(labels_text(&json!({"a": "b", "c": ""})), "a=b,c=");
    }
}
