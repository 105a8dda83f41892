//! One step of a path into an object: a field, or an item of a list by its keys, its value or its place.
//!
//! Their order and their text are those of managedFields: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use crate::field_error::quote;

/// A step of a path.
#[derive(Clone, Debug)]
pub(crate) enum Element {
    /// A field of an object.
    Field(Box<str>),
    /// The item of a list that has these keys, which are in order.
    Key(Box<[(Box<str>, Value)]>),
    /// The item of a list of scalars that is this value.
    Item(Value),
    /// The item of a list at this place.
    Index(i64),
}

/// The text is no element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl Element {
    /// A field.
    pub(crate) fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// An item with these keys, in whatever order.
    pub(crate) fn key(mut keys: Vec<(Box<str>, Value)>) -> Self {
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(keys.into())
    }

    /// Reads an element; `None` for one of a sort that is not known, which a later version may know.
    ///
    /// # Errors
    /// The text is not of its sort's form.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Malformed> {
        let malformed = |why: &dyn fmt::Display| Malformed(format!("{}: {why}", quote(text)));
        let Some((sort, content)) = text.split_at_checked(2) else {
            return Err(malformed(&"key must be 2 characters long"));
        };
        Ok(Some(match sort {
            "f:" => Self::field(content),
            "k:" => {
                let keys: Map<String, Value> = serde_json::from_str(content).map_err(|error| malformed(&error))?;
                Self::key(keys.into_iter().map(|(name, value)| (name.into(), value)).collect())
            }
            "v:" => Self::Item(serde_json::from_str(content).map_err(|error| malformed(&error))?),
            "i:" => Self::Index(content.parse().map_err(|error| malformed(&error))?),
            _ if sort.ends_with(':') => return Ok(None),
            _ => return Err(malformed(&"missing colon")),
        }))
    }

    /// The element as a key of managedFields.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let keys = keys.iter().map(|(name, value)| (name.to_string(), value.clone()));
                format!("k:{}", Value::Object(keys.collect()))
            }
            Self::Item(value) => format!("v:{value}"),
            Self::Index(place) => format!("i:{place}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Item(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// As paths are shown to people: `.spec`, `[name="x"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Item(value) => write!(f, "[={}]", shown(value)),
            Self::Index(place) => write!(f, "[{place}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => compare_keys(a, b),
            (Self::Item(a), Self::Item(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

fn compare_keys(a: &[(Box<str>, Value)], b: &[(Box<str>, Value)]) -> Ordering {
    let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare_values(&a.1, &b.1)));
    first_difference(pairs).then(a.len().cmp(&b.len()))
}

/// The order of all values: numbers, strings, booleans, lists, objects, null.
pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            first_difference(a.iter().zip(b).map(|(a, b)| compare_values(a, b))).then(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(b.0).then_with(|| compare_values(a.1, b.1)));
            first_difference(pairs).then(a.len().cmp(&b.len()))
        }
        _ => value_rank(a).cmp(&value_rank(b)),
    }
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_survives() {
        for text in [
            "f:a",
            "f:",
            "f:app.kubernetes.io/name",
            "v:\"x\"",
            "v:1",
            "v:true",
            "i:3",
            "k:{\"a\":1,\"b\":\"x\"}",
            "k:{}",
        ] {
            let element = Element::parse(text).expect(text).expect(text);
            assert_eq!(element.to_text(), text);
            assert_eq!(Element::parse(&element.to_text()), Ok(Some(element)));
        }
        assert_eq!(Element::parse("q:future"), Ok(None));
        for text in ["", "f", "fx", "k:[1]", "k:{", "v:", "v:1 2", "i:x", "é"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn elements_have_an_order() {
        let texts = [
            "f:a",
            "f:b",
            "k:{\"a\":9}",
            "k:{\"a\":10}",
            "k:{\"a\":10,\"b\":1}",
            "k:{\"b\":1}",
            "v:2",
            "v:\"1\"",
            "i:0",
        ];
        let elements: Vec<Element> =
            texts.iter().map(|text| Element::parse(text).expect("text").expect("element")).collect();
        assert!(elements.windows(2).all(|pair| pair[0] < pair[1]), "{elements:?}");
        assert_eq!(Element::Item(json!(1)), Element::Item(json!(1.0)));
    }

    #[test]
    fn paths_are_shown_as_kubernetes_shows_them() {
        let shown = |text: &str| Element::parse(text).expect("text").expect("element").to_string();
        assert_eq!(shown("f:spec"), ".spec");
        assert_eq!(shown(r#"k:{"protocol":"TCP","containerPort":80}"#), r#"[containerPort=80,protocol="TCP"]"#);
        assert_eq!(shown(r#"v:"x""#), r#"[="x"]"#);
        assert_eq!(shown("i:1"), "[1]");
    }
}
