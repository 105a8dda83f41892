//! Laying an applied object over the live one: fields and items that it names are its, all others stay.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::schema::{Form, List, Place};

/// The live object with the applied one laid over it; both are of the place's type.
pub(crate) fn merge(place: Place<'_>, live: &Value, applied: &Value) -> Value {
    merge_at(place, Some(live), Some(applied)).unwrap_or(Value::Null)
}

/// `None` if nothing is left, which differs from being empty.
fn merge_at(place: Place<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let is_solid = applied.is_some_and(|applied| !applied.is_null());
    let form = place.form(if is_solid { applied } else { live.or(applied) });
    let whole = || applied.or(live).cloned();
    match form {
        Form::Scalar(_) => whole(),
        Form::Map(map) => {
            let (before, now) = (live.and_then(Value::as_object), applied.and_then(Value::as_object));
            if map.is_atomic || (before.is_none_or(Map::is_empty) && now.is_none_or(Map::is_empty)) {
                return whole();
            }
            let mut merged = Map::new();
            let names = before.into_iter().flatten().chain(now.into_iter().flatten()).map(|(name, _)| name);
            for name in names.collect::<BTreeSet<_>>() {
                let place = map.entry(name).map_or(Place::Any, |entry| entry.place);
                let (before, now) =
                    (before.and_then(|fields| fields.get(name)), now.and_then(|fields| fields.get(name)));
                if let Some(value) = merge_at(place, before, now) {
                    merged.insert(name.clone(), value);
                }
            }
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
        Form::List(list) => {
            let (before, now) = (items(live), items(applied));
            if list.is_atomic() || (before.is_empty() && now.is_empty()) {
                return whole();
            }
            let merged = merge_items(&list, before, now);
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Items of a list with their elements.
struct Items<'v> {
    elements: Vec<Element>,
    /// `None` for an element that several items have: they are not merged with anything.
    by_element: BTreeMap<Element, Option<&'v Value>>,
    values: Vec<&'v Value>,
}

impl<'v> Items<'v> {
    fn of(list: &List<'_>, items: &'v [Value]) -> Self {
        let mut found = Self { elements: Vec::new(), by_element: BTreeMap::new(), values: Vec::new() };
        for item in items {
            let Ok(element) = list.element(item) else { continue };
            found.by_element.entry(element.clone()).and_modify(|value| *value = None).or_insert(Some(item));
            found.elements.push(element);
            found.values.push(item);
        }
        found
    }

    fn has(&self, element: &Element) -> bool {
        self.by_element.contains_key(element)
    }

    fn get(&self, element: &Element) -> Option<&'v Value> {
        self.by_element.get(element).copied().flatten()
    }
}

/// Items that both lists have come in the order of the applied one; the live ones keep their places between them.
fn merge_items(list: &List<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (live, applied) = (Items::of(list, live), Items::of(list, applied));
    let mut shared = applied.elements.iter().filter(|element| live.has(element));
    let mut next_shared = shared.next();
    let mut done = BTreeSet::new();
    let mut merged = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < live.elements.len() || right < applied.elements.len() {
        if let (Some(a), Some(b)) = (live.elements.get(left), applied.elements.get(right)) {
            if a == b {
                merged.extend(merge_at(list.items, live.get(a), applied.get(b)));
                done.insert(b);
                (left, right) = (left + 1, right + 1);
                next_shared = shared.next();
                continue;
            }
            if applied.has(a) && next_shared.is_some_and(|next| next != a) {
                left += 1;
                continue;
            }
        }
        if let (Some(a), Some(value)) = (live.elements.get(left), live.values.get(left)) {
            if !applied.has(a) {
                merged.extend(merge_at(list.items, Some(*value), None));
                left += 1;
                continue;
            }
            if done.contains(a) {
                left += 1;
            }
        }
        if let Some(b) = applied.elements.get(right) {
            merged.extend(merge_at(list.items, live.get(b), applied.get(b)));
            done.insert(b);
            right += 1;
            if next_shared == Some(b) {
                next_shared = shared.next();
            }
        }
    }
    merged
}
