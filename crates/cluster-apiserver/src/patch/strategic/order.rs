//! The order of a merged list: the patch's items as the patch wants them, the others where they were among them.

use std::collections::HashMap;

use serde_json::Value;

use super::{DIRECTIVE, PatchError, go_text, no_key, wrong_type};

/// What identifies an item: the value of its key, or the item itself.
fn identity<'a>(item: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match key {
        Some(key) if item.is_object() => item.get(key),
        _ => Some(item),
    }
}

/// Where items stand in a list, by what identifies them; of equal ones the first counts. A patch is large before a merge is slow.
struct Places<'a> {
    key: Option<&'a str>,
    first: HashMap<Option<&'a Value>, usize>,
}

impl<'a> Places<'a> {
    fn of(items: &'a [Value], key: Option<&'a str>) -> Self {
        let mut first = HashMap::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            first.entry(identity(item, key)).or_insert(place);
        }
        Self { key, first }
    }

    fn get(&self, item: &Value) -> Option<usize> {
        self.first.get(&identity(item, self.key)).copied()
    }
}

/// Checks that the items of a patch stand in the order that it gives.
pub(super) fn check(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in patch {
        if key.is_some() {
            let Value::Object(fields) = item else { return Err(wrong_type("map[string]interface {}", item)) };
            if fields.contains_key(DIRECTIVE) {
                continue;
            }
        }
        loop {
            let Some(next) = wanted.next() else {
                let (patch, order) = (Value::Array(patch.to_vec()), Value::Array(order.to_vec()));
                return Err(PatchError::Unfit(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go_text(&patch),
                    go_text(&order)
                )));
            };
            if key_of(item, key)? == key_of(next, key)? {
                break;
            }
        }
    }
    Ok(())
}

fn key_of<'a>(item: &'a Value, key: Option<&str>) -> Result<&'a Value, PatchError> {
    let Some(key) = key else { return Ok(item) };
    match item {
        Value::Object(fields) => fields.get(key).ok_or_else(|| no_key(fields, key)),
        other => Err(wrong_type("map[string]interface {}", other)),
    }
}

/// Splits items into those that `order` names and the others.
pub(super) fn split(
    items: Vec<Value>,
    order: &[Value],
    key: Option<&str>,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    if key.is_some() {
        for item in &items {
            key_of(item, key)?;
        }
        if let Some(place) = order.iter().position(|item| !item.is_object()).filter(|_| !items.is_empty()) {
            return Err(PatchError::Unfit(format!("value for key {place} is not a map")));
        }
        for item in order {
            key_of(item, key)?;
        }
    }
    let places = Places::of(order, key);
    Ok(items.into_iter().partition(|item| places.get(item).is_some()))
}

/// Sorts the ordered items by `order`, and puts the others among them where they stood in `before`.
pub(super) fn normalize(
    mut ordered: Vec<Value>,
    mut others: Vec<Value>,
    order: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (order, before) = (Places::of(order, key), Places::of(before, key));
    ordered.sort_by_key(|item| order.get(item));
    others.sort_by_key(|item| before.get(item).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(ordered.len() + others.len());
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(left), Some(right)) = (others.peek(), ordered.peek()) {
        let places = (before.get(left), before.get(right));
        let is_before = matches!(places, (Some(left), Some(right)) if left < right);
        result.extend(if is_before { others.next() } else { ordered.next() });
    }
    result.extend(ordered);
    result.extend(others);
    result
}
