//! Operators: arithmetic that does not overflow in silence, comparison, membership, indexing; and values that may be missing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::eval::{Budget, Evaluated, Evaluation, Fault};
use super::super::keys::identity;
use super::super::value::Val;
use super::{shown, time};
use crate::schema::ListType;

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    match (name, args) {
        ("!_", [Val::Bool(value)]) => Some(Ok(Val::Bool(!value))),
        ("-_", [Val::Int(value)]) => Some(int(value.checked_neg())),
        ("-_", [Val::Double(value)]) => Some(Ok(Val::Double(-value))),
        ("_==_", [a, b]) => Some(a.equals(b, &evaluation.budget).map(Val::Bool)),
        ("_!=_", [a, b]) => Some(a.equals(b, &evaluation.budget).map(|are| Val::Bool(!are))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => compared(name, a, b),
        ("_+_", [a, b]) => plus(&evaluation.budget, a, b),
        ("_-_", [a, b]) => minus(a, b),
        ("_*_" | "_/_" | "_%_", [a, b]) => scaled(name, a, b),
        ("@in", [item, range]) => is_in(&evaluation.budget, item, range),
        ("_[_]", [range, index]) => Some(indexed(range, index)),
        ("_[?_]", [range, index]) => Some(Ok(match range {
            Val::Optional(None) => Val::Optional(None),
            Val::Optional(Some(inner)) => optional(indexed(inner, index)),
            range => optional(indexed(range, index)),
        })),
        ("optional.of", [value]) => Some(Ok(Val::some(value.clone()))),
        ("optional.ofNonZeroValue", [value]) if value.is_zero() => Some(Ok(Val::Optional(None))),
        ("optional.ofNonZeroValue", [value]) => Some(Ok(Val::some(value.clone()))),
        ("optional.none", []) => Some(Ok(Val::Optional(None))),
        ("hasValue", [Val::Optional(value)]) => Some(Ok(Val::Bool(value.is_some()))),
        ("value", [Val::Optional(value)]) => Some(match value {
            Some(value) => Ok(value.as_ref().clone()),
            None => Fault::error("optional.none() dereference"),
        }),
        _ => None,
    }
}

fn int<'a>(value: Option<i64>) -> Evaluated<'a> {
    value.map(Val::Int).ok_or_else(|| Fault::Error("integer overflow".to_owned()))
}

fn uint<'a>(value: Option<u64>) -> Evaluated<'a> {
    value.map(Val::Uint).ok_or_else(|| Fault::Error("unsigned integer overflow".to_owned()))
}

fn compared<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Option<Evaluated<'a>> {
    let is_nan = |value: &Val<'_>| matches!(value, Val::Double(number) if number.is_nan());
    if is_nan(a) || is_nan(b) {
        return Some(Fault::error("NaN values cannot be ordered"));
    }
    let order = a.compare(b)?;
    Some(Ok(Val::Bool(match name {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })))
}

fn plus<'a>(budget: &Budget, a: &Val<'a>, b: &Val<'a>) -> Option<Evaluated<'a>> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Text(a), Val::Text(b)) => Ok(Val::text(format!("{}{}", &**a, &**b))),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into())),
        (Val::Duration(a), Val::Duration(b)) => time::duration(a.checked_add(*b)),
        (Val::Timestamp(at), Val::Duration(by)) | (Val::Duration(by), Val::Timestamp(at)) => time::moved(*at, *by),
        _ => {
            let (items, more) = (a.items()?, b.items()?);
            match a.keyed_list() {
                Some(list) => merged(budget, list, items, more),
                None => Ok(Val::list(items.into_iter().chain(more).collect())),
            }
        }
    })
}

/// A list that is a map by keys gets no second item of one key, a set none twice.
fn merged<'a>(budget: &Budget, list: &ListType, mut items: Vec<Val<'a>>, more: Vec<Val<'a>>) -> Evaluated<'a> {
    let mut known = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        known.extend(identity(list, item).map(|key| (key, place)));
    }
    for item in more {
        let key = identity(list, &item);
        let place = match &key {
            Some(key) => known.get(key).copied(),
            None => item.place_among(items.iter(), budget)?,
        };
        match place.and_then(|place| items.get_mut(place)) {
            Some(present) => *present = item,
            None => {
                known.extend(key.map(|key| (key, items.len())));
                items.push(item);
            }
        }
    }
    Ok(Val::list(items))
}

fn minus<'a>(a: &Val<'a>, b: &Val<'a>) -> Option<Evaluated<'a>> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_sub(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_sub(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Duration(a), Val::Duration(b)) => time::duration(a.checked_sub(*b)),
        (Val::Timestamp(at), Val::Duration(by)) => time::moved(*at, by.saturating_neg()),
        (Val::Timestamp(a), Val::Timestamp(b)) => time::duration(i64::try_from(a.duration_since(*b).as_nanos()).ok()),
        _ => return None,
    })
}

fn scaled<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Option<Evaluated<'a>> {
    let by_zero = || Fault::error(if name == "_/_" { "division by zero" } else { "modulus by zero" });
    Some(match (name, a, b) {
        ("_/_" | "_%_", _, Val::Int(0) | Val::Uint(0)) => by_zero(),
        ("_*_", Val::Int(a), Val::Int(b)) => int(a.checked_mul(*b)),
        ("_/_", Val::Int(a), Val::Int(b)) => int(a.checked_div(*b)),
        ("_%_", Val::Int(a), Val::Int(b)) => int(a.checked_rem(*b)),
        ("_*_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_mul(*b)),
        ("_/_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_div(*b)),
        ("_%_", Val::Uint(a), Val::Uint(b)) => uint(a.checked_rem(*b)),
        ("_*_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        ("_/_", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        _ => return None,
    })
}

fn is_in<'a>(budget: &Budget, item: &Val<'a>, range: &Val<'a>) -> Option<Evaluated<'a>> {
    if range.is_map() {
        return Some(Ok(Val::Bool(range.has_key(item))));
    }
    let items = range.items()?;
    Some(item.is_among(&items, budget).map(Val::Bool))
}

fn indexed<'a>(range: &Val<'a>, index: &Val<'a>) -> Evaluated<'a> {
    match (range, index) {
        (Val::Optional(inner), _) => Ok(match inner {
            Some(inner) => optional(indexed(inner, index)),
            None => Val::Optional(None),
        }),
        (Val::List(_) | Val::Json(serde_json::Value::Array(_), ..), Val::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| range.at(at));
            found.ok_or_else(|| Fault::Error(format!("index out of bounds: {at}")))
        }
        _ if range.is_map() => {
            let text = |key: &Val<'_>| match key {
                Val::Text(name) => name.to_string(),
                key => shown(key),
            };
            range.value_of(index).ok_or_else(|| Fault::Error(format!("no such key: {}", text(index))))
        }
        _ => Fault::error("no such overload: _[_]"),
    }
}

fn optional<'a>(found: Evaluated<'a>) -> Val<'a> {
    found.map_or(Val::Optional(None), Val::some)
}
