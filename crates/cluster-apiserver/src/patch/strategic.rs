//! Strategic merge patch: a merge patch that knows which lists are keyed.
//!
//! A patch is an object; `null` deletes, maps merge, and a list either replaces the old one or, where the
//! [facts](crate::facts) say so, merges with it: items of maps by a key, scalars as a set. Inside a patch may stand
//! directives:
//!
//! | Directive | Does |
//! |---|---|
//! | `$patch: replace` in a map | the patch's map as it is |
//! | `$patch: delete` in a map | an empty map |
//! | `$patch: replace` in an item | the list is the other items of the patch |
//! | `$patch: delete` in an item | the items with its key are gone |
//! | `$deleteFromPrimitiveList/x` | takes scalars out of the list `x` |
//! | `$setElementOrder/x` | orders the list `x`; other items keep their places |
//! | `$retainKeys` | the fields that may stay, and the only ones the patch may set |
//!
//! Specified by apimachinery's `strategicpatch` as the server calls it. It consumes a part of the patch, and what is left of it is what kube-apiserver
//! shows when the result does not fit; so this does the same.

mod order;
mod schema;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::merge::drop_nulls;
use crate::facts::Type;
use crate::value::as_object;
use crate::value::go_text;
use order::{normalize, split};
use schema::{ListRule, Schema};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Why a patch does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A directive is not of its form: 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// The patch would make a list of lists: 422.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Anything else: 500, as in Kubernetes.
    #[error("{0}")]
    Unfit(String),
}

const BAD_DELETE: PatchError = PatchError::Malformed("invalid patch format of primitive list");
const BAD_RETAIN: PatchError = PatchError::Malformed("invalid patch format of retainKeys");
const BAD_ORDER: PatchError = PatchError::Malformed("invalid patch format of setElementOrder list");

type Fields = Map<String, Value>;

/// Lays `patch` over `old`, an object of the type `of`; of the patch that is left which kube-apiserver would show.
///
/// # Errors
/// If the patch does not fit the object.
pub fn apply(of: Type, old: &Value, patch: &mut Value) -> Result<Value, PatchError> {
    match (old, patch) {
        (Value::Object(old), Value::Object(patch)) => {
            merge_map(old.clone(), patch, Schema::Message(of)).map(Value::Object)
        }
        (Value::Object(_), other) => Err(wrong_type("map[string]interface {}", other)),
        (other, _) => Err(wrong_type("map[string]interface {}", other)),
    }
}

fn merge_map(mut old: Fields, patch: &mut Fields, schema: Schema) -> Result<Fields, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch.clone())
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(directive, patch)),
        };
    }
    retain_keys(&mut old, patch)?;
    merge_ordered(&mut old, patch, schema)?;
    for (key, value) in patch {
        if key.starts_with(DELETE_FROM) {
            let name = directive_target(key, DELETE_FROM).ok_or(BAD_DELETE)?;
            delete_scalars(&mut old, name, value, schema)?;
        } else {
            merge_field(&mut old, key, value, schema)?;
        }
    }
    Ok(old)
}

/// `$deleteFromPrimitiveList/name`.
fn delete_scalars(old: &mut Fields, name: &str, value: &mut Value, schema: Schema) -> Result<(), PatchError> {
    match (old.get_mut(name), value) {
        (_, Value::Null) => {
            old.remove(name);
        }
        (Some(Value::Array(items)), Value::Array(gone)) => {
            let rule = schema.list(name)?;
            let merged = merge_list(std::mem::take(items), gone, &rule, true)?;
            old.insert(name.to_owned(), Value::Array(merged));
        }
        _ => {}
    }
    Ok(())
}

fn merge_field(old: &mut Fields, name: &str, value: &mut Value, schema: Schema) -> Result<(), PatchError> {
    if value.is_null() {
        old.remove(name);
        return Ok(());
    }
    let merged = match (old.get_mut(name), value) {
        (Some(Value::Object(before)), Value::Object(now)) => {
            let (inner, is_replaced) = schema.map(name)?;
            let before = std::mem::take(before);
            Some(Value::Object(if is_replaced { now.clone() } else { merge_map(before, now, inner)? }))
        }
        (Some(Value::Array(before)), Value::Array(now)) => {
            let rule = schema.list(name)?;
            let before = std::mem::take(before);
            Some(Value::Array(if rule.merges { merge_list(before, now, &rule, false)? } else { now.clone() }))
        }
        (Some(_), scalar) if !scalar.is_object() && !scalar.is_array() => Some(scalar.clone()),
        (_, new) => {
            drop_nulls(new);
            drop_directives(new).then(|| new.clone())
        }
    };
    match merged {
        Some(value) => old.insert(name.to_owned(), value),
        None => old.remove(name),
    };
    Ok(())
}

/// `$retainKeys`.
fn retain_keys(old: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(retained) = retained else { return Err(BAD_RETAIN) };
    let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let is_retained = |key: &str| retained.contains(key);
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !is_retained(key)) {
        return Err(BAD_RETAIN);
    }
    old.retain(|key, _| is_retained(key));
    Ok(())
}

/// `$setElementOrder/…`: the lists that a patch orders are merged and ordered here, and leave the patch.
fn merge_ordered(old: &mut Fields, patch: &mut Fields, schema: Schema) -> Result<(), PatchError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for key in keys {
        let order = match patch.remove(&key) {
            Some(Value::Array(order)) => order,
            other => return Err(wrong_type("[]interface {}", &other.unwrap_or(Value::Null))),
        };
        let name = directive_target(&key, SET_ORDER).ok_or(BAD_ORDER)?;
        let before = old.get(name).map(as_list).transpose()?;
        let now = patch.get(name).map(as_list).transpose()?;
        let rule = schema.list(name)?;
        let empty = Vec::new();
        order::check(now.unwrap_or(&empty), &order, rule.key)?;
        let merged = match (before, now) {
            (Some(before), None) => before.clone(),
            (None, Some(now)) => {
                let mut added = Value::Array(now.clone());
                drop_directives(&mut added);
                as_list(&added)?.clone()
            }
            (Some(before), Some(now)) if rule.merges => merge_list(before.clone(), &mut now.clone(), &rule, false)?,
            (Some(_), Some(now)) => now.clone(),
            (None, None) => continue,
        };
        let (ordered, others) = split(merged, &order, rule.key)?;
        let before = before.unwrap_or(&empty);
        check_items(before, now.unwrap_or(&empty))?;
        let normal = normalize(ordered, others, &order, before, rule.key);
        patch.remove(name);
        old.insert(name.to_owned(), Value::Array(normal));
    }
    Ok(())
}

fn merge_list(
    old: Vec<Value>,
    patch: &mut [Value],
    rule: &ListRule,
    is_deletion: bool,
) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && patch.is_empty() {
        return Ok(old);
    }
    if !check_items(&old, patch)? {
        if is_deletion {
            let gone: HashSet<&Value> = patch.iter().collect();
            return Ok(old.into_iter().filter(|item| !gone.contains(item)).collect());
        }
        let mut seen = HashSet::new();
        let merged = old.iter().chain(patch.iter()).filter(|item| seen.insert(*item)).cloned().collect();
        let (ordered, others) = split(merged, patch, rule.key)?;
        return Ok(normalize(ordered, others, patch, &old, rule.key));
    }
    let Some(key) = rule.key else {
        return Err(PatchError::Unfit(format!("cannot merge lists without merge key for {}", rule.items.go_name())));
    };
    let (old, mut patch) = merge_directives(old, patch, key)?;
    let mut merged = old.clone();
    let mut places: HashMap<&Value, usize> = HashMap::new();
    for (place, item) in old.iter().enumerate() {
        if let Some(value) = item.get(key) {
            places.entry(value).or_insert(place);
        }
    }
    let wanted: Vec<Value> = patch.iter().map(|item| (**item).clone()).collect();
    for (item, wanted) in patch.iter_mut().zip(&wanted) {
        let (Value::Object(fields), Value::Object(wanted)) = (&mut **item, wanted) else { continue };
        let value = wanted.get(key).ok_or_else(|| no_key(wanted, key))?;
        let place = *places.entry(value).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(before) => {
                let fields_before = std::mem::take(as_object(before));
                *before = Value::Object(merge_map(fields_before, fields, rule.items)?);
            }
            None => merged.push(Value::Object(fields.clone())),
        }
    }
    let (ordered, others) = split(merged, &wanted, rule.key)?;
    Ok(normalize(ordered, others, &wanted, &old, rule.key))
}

/// Carries out the `$patch` directives among the items of a patch: what is left of the old list, and of the patch.
fn merge_directives<'p>(
    mut old: Vec<Value>,
    patch: &'p mut [Value],
    key: &str,
) -> Result<(Vec<Value>, Vec<&'p mut Value>), PatchError> {
    let mut rest: Vec<&mut Value> = Vec::with_capacity(patch.len());
    let mut gone = HashSet::new();
    let mut is_replaced = false;
    for item in patch {
        let Value::Object(fields) = &*item else { continue };
        let Some(directive) = fields.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(fields.get(key).ok_or_else(|| no_key(fields, key))?.clone());
            }
            Some("replace") => is_replaced = true,
            Some("merge") => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Unfit(text.to_owned()));
            }
            _ => return Err(unknown_directive(directive, fields)),
        }
    }
    old.retain(|item| item.get(key).is_none_or(|value| !gone.contains(value)));
    if is_replaced {
        return Ok((rest.into_iter().map(|item| item.clone()).collect(), Vec::new()));
    }
    Ok((old, rest))
}

/// Whether the items are maps.
///
/// # Errors
/// If there are none, or if they are lists or of more than one type.
fn check_items(old: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut types = old.iter().chain(patch).map(std::mem::discriminant);
    let first = types.next();
    if types.any(|other| Some(other) != first) {
        let lists: Vec<Value> = [old, patch].iter().map(|list| Value::Array(list.to_vec())).collect();
        let text = format!("list element types are not identical: {}", go_text(&Value::Array(lists)));
        return Err(PatchError::Unfit(text));
    }
    if old.iter().chain(patch).any(Value::is_array) {
        return Err(PatchError::ListOfLists);
    }
    match old.first().or_else(|| patch.first()) {
        Some(item) => Ok(item.is_object()),
        None => Err(PatchError::Unfit("no elements in any of the given slices".to_owned())),
    }
}

fn as_list(value: &Value) -> Result<&Vec<Value>, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(wrong_type("[]interface {}", other)),
    }
}

fn directive_target<'a>(key: &'a str, directive: &str) -> Option<&'a str> {
    key.split_once('/').filter(|(prefix, _)| *prefix == directive).map(|(_, name)| name)
}

/// Takes the directives out of a value of a patch that nothing is merged with; false if it is one itself.
fn drop_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => return false,
        Value::Object(fields) => fields.retain(|_, value| drop_directives(value)),
        Value::Array(items) => items.retain_mut(drop_directives),
        _ => {}
    }
    true
}

fn no_key(fields: &Fields, key: &str) -> PatchError {
    let map = go_text(&Value::Object(fields.clone()));
    PatchError::Unfit(format!("map: {map} does not contain declared merge key: {key}"))
}

fn unknown_directive(directive: &Value, fields: &Fields) -> PatchError {
    let map = go_text(&Value::Object(fields.clone()));
    PatchError::Unfit(format!("unknown patch type: {} in map: {map}", go_text(directive)))
}

fn wrong_type(expected: &str, found: &Value) -> PatchError {
    let found = match found {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    PatchError::Unfit(format!("expected a {expected}, but received a {found}"))
}

#[cfg(test)]
mod tests;
