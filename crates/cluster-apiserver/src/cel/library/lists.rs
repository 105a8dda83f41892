//! Functions of lists: Kubernetes' (`sum`, `isSorted`, …), CEL's lists extension, and sets.

use std::cmp::Ordering;

use super::super::eval::{Budget, Evaluated, Evaluation, Fault};
use super::super::value::Val;

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    if let ("lists.range", [Val::Int(count)]) = (name, args) {
        let count = (*count).max(0);
        let paid = evaluation.budget.spend(usize::try_from(count).unwrap_or(usize::MAX));
        return Some(paid.map(|()| Val::list((0..count).map(Val::Int).collect())));
    }
    let (list, rest) = args.split_first()?;
    if let ("first" | "last", []) = (name, rest) {
        let at = if name == "first" { Some(0) } else { list.size().and_then(|size| size.checked_sub(1)) };
        return list.is_list().then(|| Ok(optional(at.and_then(|at| list.at(at)))));
    }
    let items = list.items()?;
    let budget = &evaluation.budget;
    match (name, rest) {
        ("isSorted", []) => Some(sorted(&items)),
        ("sum", []) => Some(sum(evaluation, &items)),
        ("min", []) => Some(extreme(name, &items, Ordering::Less)),
        ("max", []) => Some(extreme(name, &items, Ordering::Greater)),
        ("indexOf", [item]) => Some(item.place_among(items.iter(), budget).map(index)),
        ("lastIndexOf", [item]) => {
            let from_end = item.place_among(items.iter().rev(), budget);
            Some(from_end.map(|at| index(at.map(|at| items.len() - 1 - at))))
        }
        ("includes", [item]) => Some(item.is_among(&items, budget).map(Val::Bool)),
        ("reverse", []) => Some(Ok(Val::list(items.into_iter().rev().collect()))),
        ("sort", []) => Some(sort_by_key(budget, items.into_iter().map(|item| (item.clone(), item)).collect())),
        ("slice", [Val::Int(from), Val::Int(to)]) => Some(slice(items, *from, *to)),
        ("distinct", []) => Some(distinct(budget, items)),
        ("flatten", []) => Some(Ok(Val::list(flatten(items, 1)))),
        ("flatten", [Val::Int(depth)]) => Some(match u32::try_from(*depth) {
            Ok(depth) => Ok(Val::list(flatten(items, depth))),
            Err(_) => Fault::error("level must be non-negative"),
        }),
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [other]) => {
            Some(sets(budget, name, &items, &other.items()?).map(Val::Bool))
        }
        _ => None,
    }
}

fn sets(budget: &Budget, name: &str, items: &[Val<'_>], other: &[Val<'_>]) -> Result<bool, Fault> {
    match name {
        "sets.contains" => covers(budget, items, other),
        "sets.equivalent" => Ok(covers(budget, items, other)? && covers(budget, other, items)?),
        _ => {
            for item in items {
                if item.is_among(other, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Whether all of some are among all.
fn covers(budget: &Budget, all: &[Val<'_>], some: &[Val<'_>]) -> Result<bool, Fault> {
    for item in some {
        if !item.is_among(all, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn index<'a>(at: Option<usize>) -> Val<'a> {
    Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn optional(value: Option<Val<'_>>) -> Val<'_> {
    value.map_or(Val::Optional(None), Val::some)
}

fn sorted<'a>(items: &[Val<'a>]) -> Evaluated<'a> {
    for pair in items.windows(2) {
        let [a, b] = pair else { continue };
        match a.compare(b) {
            Some(Ordering::Greater) => return Ok(Val::Bool(false)),
            Some(_) => {}
            None => return Fault::error("no such overload: isSorted"),
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(evaluation: &mut Evaluation<'a>, items: &[Val<'a>]) -> Evaluated<'a> {
    let Some((first, rest)) = items.split_first() else { return Ok(Val::Int(0)) };
    let mut total = first.clone();
    for item in rest {
        total = super::call(evaluation, "_+_", false, &[total, item.clone()])?;
    }
    Ok(total)
}

fn extreme<'a>(name: &str, items: &[Val<'a>], wanted: Ordering) -> Evaluated<'a> {
    let Some((first, rest)) = items.split_first() else {
        return Fault::error(format!("{name} called on empty list"));
    };
    let mut best = first;
    for item in rest {
        match item.compare(best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return Fault::error(format!("no such overload: {name}")),
        }
    }
    Ok(best.clone())
}

/// The values, in the order of their keys.
pub(in super::super) fn sort_by_key<'a>(budget: &Budget, mut pairs: Vec<(Val<'a>, Val<'a>)>) -> Evaluated<'a> {
    let rounds = usize::try_from(usize::BITS - pairs.len().leading_zeros()).unwrap_or(usize::MAX);
    let weight = pairs.iter().fold(0, |sum: usize, (key, _)| sum.saturating_add(key.weight(budget.limit(), 0)));
    budget.spend(weight.saturating_mul(rounds))?;
    let is_ordered = pairs.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a.compare(b).is_some()));
    if !is_ordered {
        return Fault::error("list elements must be comparable");
    }
    pairs.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Val::list(pairs.into_iter().map(|(_, value)| value).collect()))
}

fn slice<'a>(items: Vec<Val<'a>>, from: i64, to: i64) -> Evaluated<'a> {
    let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else {
        return Fault::error(format!("cannot slice({from}, {to}), negative indexes not supported"));
    };
    if start > end {
        return Fault::error(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ));
    }
    if end > items.len() {
        return Fault::error(format!("cannot slice({from}, {to}), list is length {}", items.len()));
    }
    Ok(Val::list(items.into_iter().skip(start).take(end - start).collect()))
}

fn distinct<'a>(budget: &Budget, items: Vec<Val<'a>>) -> Evaluated<'a> {
    let mut kept: Vec<Val<'_>> = Vec::new();
    for item in items {
        if !item.is_among(&kept, budget)? {
            kept.push(item);
        }
    }
    Ok(Val::list(kept))
}

fn flatten(items: Vec<Val<'_>>, depth: u32) -> Vec<Val<'_>> {
    let mut flat = Vec::new();
    for item in items {
        match item.items().filter(|_| depth > 0) {
            Some(inner) => flat.extend(flatten(inner, depth - 1)),
            None => flat.push(item),
        }
    }
    flat
}
