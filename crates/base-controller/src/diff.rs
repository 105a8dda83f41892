//! What differs between two JSON values, for one line in a log.

use serde_json::Value;

/// Differences that one text names at most.
const MAX_DIFFERENCES: usize = 20;
/// Characters of a value that are shown.
const MAX_VALUE_CHARS: usize = 80;

/// The differences as `path: old → new`, joined by `; `.
pub(crate) fn describe(old: &Value, new: &Value) -> String {
    let mut differences = Vec::new();
    compare("", Some(old), Some(new), &mut differences);
    let more = differences.len().saturating_sub(MAX_DIFFERENCES);
    differences.truncate(MAX_DIFFERENCES);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    differences.join("; ")
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, differences: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for (name, value) in old {
                compare(&format!("{path}.{name}"), Some(value), new.get(name), differences);
            }
            for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                compare(&format!("{path}.{name}"), None, Some(value), differences);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{index}]"), old.get(index), new.get(index), differences);
            }
        }
        (old, new) if old != new => differences.push(format!("{path}: {} → {}", shown(old), shown(new))),
        _ => {}
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_path() {
        let old = json!({"spec": {"replicas": 1, "args": ["a", "b"]}, "gone": 1});
        let new = json!({"spec": {"replicas": 2, "args": ["a"]}, "new": {}});
        assert_eq!(
            describe(&old, &new),
            ".gone: 1 → none; .spec.args[1]: \"b\" → none; .spec.replicas: 1 → 2; .new: none → {}"
        );
    }

    #[test]
    fn a_text_is_bounded() {
        let many: Value =
            (0..50).map(|n| (format!("k{n:02}"), json!("x".repeat(500)))).collect::<serde_json::Map<_, _>>().into();
        let text = describe(&json!({}), &many);
        assert!(text.ends_with("; and 30 more") && text.len() < 20 * 120, "{text}");
    }
}
