//! The part of JSONPath that CRDs use: `.spec.a`, `.list[0]`, `[*]`, `['a.b']`, `[?(@.type=="Ready")]`.
//!
//! Printer columns, scale paths and selectable fields are read with it. A path that cannot be read finds nothing.

use serde_json::Value;

/// Longer paths find nothing.
const MAX_LENGTH: usize = 4096;

#[derive(Debug, PartialEq)]
enum Step<'a> {
    Field(String),
    Index(i64),
    All,
    Filter { path: Vec<&'a str>, is_equal: bool, value: Value },
}

/// The values that a path leads to.
pub(crate) fn find<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(steps) = parse(path) else { return Vec::new() };
    let mut found = vec![value];
    for step in &steps {
        found = found.into_iter().flat_map(|value| follow(value, step)).collect();
    }
    found
}

/// A value as a line of text: strings bare, other values as JSON.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The names on a path of fields alone, such as `.spec.replicas`; for writing.
pub(crate) fn fields(path: &str) -> Option<Vec<String>> {
    let steps = parse(path)?.into_iter();
    steps.map(|step| if let Step::Field(name) = step { Some(name) } else { None }).collect()
}

fn follow<'a>(value: &'a Value, step: &Step<'_>) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name.as_str()).into_iter().collect(),
        Step::Index(index) => {
            let items = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
            let from_end = usize::try_from(index.unsigned_abs()).ok().and_then(|n| items.len().checked_sub(n));
            let index = if *index < 0 { from_end } else { usize::try_from(*index).ok() };
            index.and_then(|index| items.get(index)).into_iter().collect()
        }
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter { path, is_equal, value: wanted } => {
            let items = value.as_array().into_iter().flatten();
            items.filter(|item| is_match(item, path, *is_equal, wanted)).collect()
        }
    }
}

fn is_match(item: &Value, path: &[&str], is_equal: bool, wanted: &Value) -> bool {
    let mut here = item;
    for name in path {
        match here.get(*name) {
            Some(value) => here = value,
            None => return false,
        }
    }
    (here == wanted) == is_equal
}

fn parse(path: &str) -> Option<Vec<Step<'_>>> {
    if path.len() > MAX_LENGTH {
        return None;
    }
    let path = path.trim();
    let mut rest = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = closing(inside)?;
            let (inside, after) = inside.split_at(end);
            steps.push(bracket(inside)?);
            rest = after.strip_prefix(']')?;
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let (name, after) = field_name(name);
        match name.as_str() {
            // A dot before a bracket, or alone: the whole object.
            "" if after.starts_with('[') || path == "." => {}
            "" => return None,
            "*" => steps.push(Step::All),
            _ => steps.push(Step::Field(name)),
        }
        rest = after;
    }
    Some(steps)
}

/// A field's name up to the next dot or bracket; a backslash makes a dot part of the name.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '.' | '[' => return (name, text.get(at..).unwrap_or_default()),
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket ends, quotes considered.
fn closing(inside: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step<'_>> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(condition) = inside.strip_prefix("?(").and_then(|inside| inside.strip_suffix(')')) {
        return filter(condition);
    }
    if let Some(name) = quoted(inside) {
        return Some(Step::Field(unescaped(name)));
    }
    inside.trim().parse().ok().map(Step::Index)
}

/// A quoted name without its backslashes: those before dots, which a quoted name needs in kubectl's dialect.
fn unescaped(name: &str) -> String {
    let mut characters = name.chars();
    std::iter::from_fn(|| match characters.next()? {
        '\\' => characters.next(),
        c => Some(c),
    })
    .collect()
}

fn filter(condition: &str) -> Option<Step<'_>> {
    let (left, is_equal, right) = match condition.split_once("==") {
        Some((left, right)) => (left, true, right),
        None => condition.split_once("!=").map(|(left, right)| (left, false, right))?,
    };
    let path = left.trim().strip_prefix("@.")?.split('.').collect();
    let right = right.trim();
    let value = match quoted(right) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Filter { path, is_equal, value })
}

fn quoted(text: &str) -> Option<&str> {
    let text = text.trim();
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_crds_use() {
        let object = json!({
            "spec": {"a": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "metadata": {"labels": {"a.b/c": "v"}},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True", "reason": "ok]"}]},
        });
        let first = |path: &str| find(&object, path).first().map(|value| text(value)).unwrap_or_default();
        assert_eq!(first(".spec.a"), "1");
        assert_eq!(first("{.spec.a}"), "1");
        assert_eq!(first(".status.conditions[?(@.type==\"Ready\")].status"), "True");
        assert_eq!(first(".status.conditions[?(@.type=='Ready')].status"), "True");
        assert_eq!(first(".status.conditions[?(@.reason==\"ok]\")].type"), "Ready");
        assert_eq!(first(".status.conditions[?(@.type!=\"Other\")].type"), "Ready");
        assert_eq!(first(".spec.list[1].n"), "y");
        assert_eq!(first(".spec.list[-1].n"), "y");
        assert_eq!(find(&object, ".spec.list[*].n").len(), 2);
        assert_eq!(first(".metadata.labels['a.b/c']"), "v");
        assert_eq!(first(".metadata.labels['a\\.b/c']"), "v");
        assert_eq!(first(".metadata.labels.a\\.b/c"), "v");
        assert_eq!(first(".spec.missing.deeper"), "");
        for odd in [".spec.list[", ".spec[?(x)]", ".a[?(@.b==)]", "..", ".spec.list[99999999999999999999]", "[é]"] {
            assert!(find(&object, odd).is_empty(), "{odd}");
        }
        assert_eq!(fields(".spec.replicas"), Some(vec!["spec".to_owned(), "replicas".to_owned()]));
        assert_eq!(fields(".spec.list[0]"), None);
    }
}
