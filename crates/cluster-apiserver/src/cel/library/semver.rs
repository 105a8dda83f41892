//! Kubernetes' quantities and semantic versions as values.

use std::cmp::Ordering;
use std::rc::Rc;

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::Val;
use crate::quantity::Quantity;

/// A version such as `1.2.3-rc.1+build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Semver {
    numbers: [u64; 3],
    pre: Vec<Box<str>>,
}

impl Semver {
    /// Reads a version; a lenient one may have a `v` before it, fewer numbers, and zeros before those.
    fn parse(text: &str, is_lenient: bool) -> Option<Self> {
        let text = if is_lenient { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
        let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_padded =
            |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
        if build.is_some_and(|build| !build.split('.').all(is_word)) {
            return None;
        }
        let pre: Vec<&str> = pre.map(|pre| pre.split('.').collect()).unwrap_or_default();
        if !pre.iter().all(|part| is_word(part) && !is_padded(part)) {
            return None;
        }
        let parts: Vec<&str> = core.split('.').collect();
        let count = parts.len();
        if count > 3 || (count < 3 && (!is_lenient || !pre.is_empty())) {
            return None;
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !is_number || (is_padded(part) && !is_lenient) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        Some(Self { numbers, pre: pre.into_iter().map(Into::into).collect() })
    }

    /// Which version comes first; what it was built from does not matter.
    pub(in super::super) fn precedence(&self, other: &Self) -> Ordering {
        let by_numbers = self.numbers.cmp(&other.numbers);
        by_numbers.then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| part_order(a, b));
                parts.fold(Ordering::Equal, Ordering::then).then(self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

fn part_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

pub(super) fn call<'a>(_: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    match (name, args) {
        ("quantity", [Val::Text(text)]) => {
            Some(Quantity::parse(text).map(quantity).map_err(|error| Fault::Error(error.to_string())))
        }
        ("isQuantity", [Val::Text(text)]) => Some(Ok(Val::Bool(Quantity::parse(text).is_ok()))),
        ("semver" | "isSemver", [Val::Text(text), rest @ ..]) => {
            let is_lenient = matches!(rest, [Val::Bool(true)]);
            let version = Semver::parse(text, is_lenient);
            Some(match version {
                found if name == "isSemver" => Ok(Val::Bool(found.is_some())),
                Some(version) => Ok(Val::Semver(version.into())),
                None => Fault::error(format!("semver parse error: {}", &**text)),
            })
        }
        ("major" | "minor" | "patch", [Val::Semver(version)]) => {
            let [major, minor, patch] = version.numbers;
            let number = match name {
                "major" => major,
                "minor" => minor,
                _ => patch,
            };
            Some(Ok(Val::Int(i64::try_from(number).unwrap_or(i64::MAX))))
        }
        ("isLessThan" | "isGreaterThan" | "compareTo", [a @ (Val::Quantity(_) | Val::Semver(_)), b]) => {
            let order = a.compare(b)?;
            Some(Ok(match name {
                "isLessThan" => Val::Bool(order == Ordering::Less),
                "isGreaterThan" => Val::Bool(order == Ordering::Greater),
                _ => Val::Int(i64::from(order as i8)),
            }))
        }
        (_, [Val::Quantity(of), rest @ ..]) => quantity_call(name, of, rest),
        _ => None,
    }
}

fn quantity<'a>(value: Quantity) -> Val<'a> {
    Val::Quantity(Rc::new(value))
}

fn quantity_call<'a>(name: &str, of: &Quantity, rest: &[Val<'a>]) -> Option<Evaluated<'a>> {
    let by = match rest {
        [] => None,
        [Val::Quantity(other)] => Some(other.as_ref().clone()),
        [Val::Int(units)] => Some(Quantity::from_units(*units)),
        _ => return None,
    };
    Some(match (name, by) {
        ("sign", None) => Ok(Val::Int(i64::from(!of.is_zero()) * if of.is_negative() { -1 } else { 1 })),
        ("isInteger", None) => Ok(Val::Bool(of.is_whole() && of.units() != i64::MAX)),
        ("asInteger", None) if of.is_whole() => Ok(Val::Int(of.units())),
        ("asInteger", None) => Fault::error("cannot convert value to integer"),
        ("asApproximateFloat", None) => Ok(Val::Double(of.approximate())),
        ("add", Some(by)) => Ok(quantity(of.plus(&by))),
        ("sub", Some(by)) => Ok(quantity(of.plus(&by.negated()))),
        _ => return None,
    })
}
