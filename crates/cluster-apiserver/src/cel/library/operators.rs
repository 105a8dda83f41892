//! Operators: arithmetic that does not overflow in silence, comparison, membership, indexing; and values that may be missing.

use std::cmp::Ordering;

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::{Text, Val};
use super::{shown, time};

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    if let ("_==_" | "_!=_" | "_+_", [a, b]) = (name, args)
        && (a.keyed_list().is_some() || b.keyed_list().is_some())
    {
        // Each item is looked for among all others.
        let pairs = a.size().unwrap_or_default().saturating_mul(b.size().unwrap_or_default());
        if let Err(fault) = evaluation.budget.spend(pairs) {
            return Some(Err(fault));
        }
    }
    match (name, args) {
        ("!_", [Val::Bool(value)]) => Some(Ok(Val::Bool(!value))),
        ("-_", [Val::Int(value)]) => Some(int(value.checked_neg())),
        ("-_", [Val::Double(value)]) => Some(Ok(Val::Double(-value))),
        ("_==_", [a, b]) => Some(Ok(Val::Bool(a.equals(b)))),
        ("_!=_", [a, b]) => Some(Ok(Val::Bool(!a.equals(b)))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => compared(name, a, b),
        ("_+_", [a, b]) => plus(a, b),
        ("_-_", [a, b]) => minus(a, b),
        ("_*_" | "_/_" | "_%_", [a, b]) => scaled(name, a, b),
        ("@in", [item, range]) => Some(Ok(Val::Bool(is_in(item, range)?))),
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

fn plus<'a>(a: &Val<'a>, b: &Val<'a>) -> Option<Evaluated<'a>> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Text(a), Val::Text(b)) => Ok(Val::text(format!("{}{}", &**a, &**b))),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into())),
        (Val::Duration(a), Val::Duration(b)) => time::duration(a.checked_add(*b)),
        (Val::Timestamp(at), Val::Duration(by)) | (Val::Duration(by), Val::Timestamp(at)) => time::moved(*at, *by),
        _ => {
            let (mut items, more) = (a.items()?, b.items()?);
            for item in more {
                join(a, &mut items, item);
            }
            Ok(Val::list(items))
        }
    })
}

/// A list that is a map by keys gets no second item of one key, a set none twice.
fn join<'a>(list: &Val<'a>, items: &mut Vec<Val<'a>>, item: Val<'a>) {
    use crate::schema::ListType;
    let same = |known: &Val<'a>| match list.keyed_list() {
        Some(ListType::Set) => known.equals(&item),
        Some(ListType::Map(keys)) => keys.iter().all(|key| match (known.field_of(key), item.field_of(key)) {
            (Some(a), Some(b)) => a.equals(&b),
            (a, b) => a.is_none() && b.is_none(),
        }),
        _ => false,
    };
    match items.iter_mut().find(|known| same(known)) {
        Some(known) => *known = item,
        None => items.push(item),
    }
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

fn is_in(item: &Val<'_>, range: &Val<'_>) -> Option<bool> {
    if let Some(items) = range.items() {
        return Some(items.iter().any(|other| item.equals(other)));
    }
    match item {
        Val::Text(name) => range.entries().map(|_| range_has(range, name)),
        _ => range.entries().map(|entries| entries.iter().any(|(key, _)| key.equals(item))),
    }
}

fn range_has(range: &Val<'_>, name: &Text<'_>) -> bool {
    match range {
        Val::Json(..) => range.field_of(name).is_some(),
        _ => range.select(name).is_some(),
    }
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
        (Val::Json(..), Val::Text(name)) => {
            range.field_of(name).ok_or_else(|| Fault::Error(format!("no such key: {}", &**name)))
        }
        (Val::Map(entries), key) => {
            let found = entries.iter().find(|(known, _)| known.equals(key));
            found.map(|(_, value)| value.clone()).ok_or_else(|| Fault::Error(format!("no such key: {}", shown(key))))
        }
        _ => Fault::error("no such overload: _[_]"),
    }
}

fn optional<'a>(found: Evaluated<'a>) -> Val<'a> {
    found.map_or(Val::Optional(None), Val::some)
}
