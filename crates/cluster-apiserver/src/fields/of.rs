//! The fields of an object: what somebody who sends it would own, and whether it is of its type at all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::Element;
use super::schema::{Form, List, Place, Scalar};
use super::set::FieldSet;
use crate::value::go_type;

/// The fields that an object has: its leaves, the items of its lists, the keys of its maps.
pub(crate) fn fields_of(place: Place<'_>, value: &Value) -> FieldSet {
    below(place, value).1
}

/// Whether the value is a leaf, and what is below it.
fn below(place: Place<'_>, value: &Value) -> (bool, FieldSet) {
    let mut set = FieldSet::default();
    match (place.form(Some(value)), value) {
        (Form::Scalar(_), _) => return (true, set),
        (Form::Map(map), _) if map.is_atomic => return (true, set),
        (Form::List(list), _) if list.is_atomic() => return (true, set),
        (Form::Map(map), Value::Object(fields)) => {
            for (name, value) in fields {
                let (place, is_named) = map.entry(name).map_or((Place::Any, false), |e| (e.place, e.is_named));
                let (is_leaf, inner) = below(place, value);
                let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                set.put(Element::field(name), is_leaf || is_empty || !is_named, inner);
            }
        }
        (Form::List(list), Value::Array(items)) => of_items(&list, items, &mut set),
        _ => {}
    }
    (false, set)
}

fn of_items(list: &List<'_>, items: &[Value], set: &mut FieldSet) {
    let elements: Vec<Option<Element>> = items.iter().map(|item| list.element(item).ok()).collect();
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for element in elements.iter().flatten() {
        if !seen.insert(element) {
            twice.insert(element);
        }
    }
    for (element, item) in elements.iter().zip(items) {
        let Some(element) = element else { continue };
        // Items of one element are owned together.
        let inner = if twice.contains(element) { FieldSet::default() } else { below(list.items, item).1 };
        set.put(element.clone(), true, inner);
    }
}

/// What keeps an object that is applied from being of its type, such as `.spec.x: field not declared in schema`.
pub(crate) fn errors_of(place: Place<'_>, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(place, value, &mut String::new(), &mut errors);
    errors
}

fn check(place: Place<'_>, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    let mut refuse = |path: &str, why: String| {
        errors.push(if path.is_empty() { why } else { format!("{path}: {why}") });
    };
    match (place.form(Some(value)), value) {
        (_, Value::Null) => {}
        (Form::Scalar(scalar), value) => {
            if !fits(scalar, value) {
                let got = match scalar {
                    Scalar::Number => go_type(value).to_owned(),
                    Scalar::Text => go_value(value),
                    Scalar::Bool | Scalar::Any => go_text(value),
                };
                refuse(path, format!("expected {}, got {got}", name_of(scalar)));
            }
        }
        (Form::Map(map), Value::Object(fields)) => {
            for (name, value) in fields {
                within(path, &Element::field(name), |path| match map.entry(name) {
                    Some(entry) => check(entry.place, value, path, errors),
                    None => errors.push(format!("{path}: field not declared in schema")),
                });
            }
        }
        (Form::Map(_), value) => refuse(path, format!("expected map, got {}", go_text(value))),
        (Form::List(list), Value::Array(items)) => check_items(&list, items, path, errors),
        (Form::List(_), value) => refuse(path, format!("expected list, got {}", go_text(value))),
    }
}

fn check_items(list: &List<'_>, items: &[Value], path: &mut String, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (place, item) in items.iter().enumerate() {
        let element = match (list.is_atomic(), list.element(item)) {
            (true, _) => Element::Index(i64::try_from(place).unwrap_or_default()),
            (false, Ok(element)) => element,
            (false, Err(why)) => {
                errors.push(format!("{path}: element {place}: {why}"));
                return;
            }
        };
        if !list.is_atomic() && !seen.insert(element.clone()) {
            errors.push(format!("{path}: duplicate entries for key {element}"));
        }
        within(path, &element, |path| check(list.items, item, path, errors));
    }
}

fn within(path: &mut String, element: &Element, then: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(&element.to_string());
    then(path);
    path.truncate(length);
}

/// Whether a scalar of this sort fits.
fn fits(scalar: Scalar, value: &Value) -> bool {
    match scalar {
        Scalar::Number => value.is_number(),
        Scalar::Text => value.is_string(),
        Scalar::Bool => value.is_boolean(),
        Scalar::Any => value.is_number() || value.is_string() || value.is_boolean(),
    }
}

fn name_of(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Number => "numeric (int or float)",
        Scalar::Text => "string",
        Scalar::Bool => "boolean",
        Scalar::Any => "any scalar",
    }
}

/// A value as Go shows one in short.
fn go_text(value: &Value) -> String {
    format!("&{{{}}}", crate::value::go_text(value))
}

/// A value as Go shows one in full.
fn go_value(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{value}}}")
}
