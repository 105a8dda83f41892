//! Taking fields out of an object.

use serde_json::{Map, Value};

use super::element::Element;
use super::schema::{Form, Place};
use super::set::FieldSet;

/// The object without the fields of a set. What has nothing left is `null`, which is no value.
pub(crate) fn remove(place: Place<'_>, value: &Value, gone: &FieldSet) -> Value {
    match (place.form(Some(value)), value) {
        (Form::Map(map), Value::Object(fields)) if !map.is_atomic => {
            let mut rest = Map::new();
            for (name, value) in fields {
                let node = gone.get(&Element::field(name));
                let place = || map.entry(name).map_or(Place::Any, |entry| entry.place);
                match node {
                    Some(node) if node.is_member => {}
                    Some(node) => drop(rest.insert(name.clone(), remove(place(), value, &node.below))),
                    None => drop(rest.insert(name.clone(), value.clone())),
                }
            }
            if rest.is_empty() { Value::Null } else { Value::Object(rest) }
        }
        (Form::List(list), Value::Array(items)) if !list.is_atomic() => {
            let rest = items.iter().filter_map(|item| {
                let node = list.element(item).ok().and_then(|element| gone.get(&element));
                match node {
                    Some(node) if node.is_member => None,
                    Some(node) => Some(remove(list.items, item, &node.below)),
                    None => Some(item.clone()),
                }
            });
            let rest: Vec<Value> = rest.collect();
            if rest.is_empty() { Value::Null } else { Value::Array(rest) }
        }
        (Form::Scalar(_), value) => value.clone(),
        _ => Value::Null,
    }
}

/// The set with the named fields on the way to its members. Keys of maps are not named.
pub(crate) fn with_named_fields(place: Place<'_>, set: &FieldSet) -> FieldSet {
    let mut result = FieldSet::default();
    for node in set.nodes() {
        let (inner, is_named) = match &node.element {
            Element::Field(name) => match place.form(None) {
                Form::Map(map) => map.entry(name).map_or((None, false), |entry| (Some(entry.place), entry.is_named)),
                _ => (None, false),
            },
            Element::Key(_) => match place.form(Some(&Value::Array(Vec::new()))) {
                Form::List(list) => (Some(list.items), false),
                _ => (None, false),
            },
            _ => (None, false),
        };
        let below = match inner {
            Some(inner) => with_named_fields(inner, &node.below),
            None => node.below.clone(),
        };
        let is_on_the_way = is_named && !node.below.is_empty();
        result.put(node.element.clone(), node.is_member || is_on_the_way, below);
    }
    result
}
