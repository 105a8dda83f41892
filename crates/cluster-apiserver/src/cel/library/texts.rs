//! Functions of texts: CEL's own, its strings extension, and Kubernetes' `find` and `findAll`. Places are counted in characters.

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::Val;
use super::convert;
use crate::field_error::quote;

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    let flag = |value: bool| Some(Ok(Val::Bool(value)));
    let text = |value: String| Some(Ok(Val::text(value)));
    match (name, args) {
        ("size", [value]) => Some(Ok(Val::Int(i64::try_from(value.size()?).unwrap_or(i64::MAX)))),
        ("contains", [Val::Text(a), Val::Text(b)]) => flag(a.contains(&**b)),
        ("startsWith", [Val::Text(a), Val::Text(b)]) => flag(a.starts_with(&**b)),
        ("endsWith", [Val::Text(a), Val::Text(b)]) => flag(a.ends_with(&**b)),
        ("matches" | "find" | "findAll", [Val::Text(a), Val::Text(pattern), rest @ ..]) => {
            Some(searched(evaluation, name, a, pattern, rest))
        }
        ("lowerAscii", [Val::Text(a)]) => text(a.to_ascii_lowercase()),
        ("upperAscii", [Val::Text(a)]) => text(a.to_ascii_uppercase()),
        ("trim", [Val::Text(a)]) => text(a.trim().to_owned()),
        ("strings.quote", [Val::Text(a)]) => text(quote(a)),
        ("charAt", [Val::Text(a), Val::Int(at)]) => Some(char_at(a, *at)),
        ("indexOf" | "lastIndexOf", [Val::Text(a), Val::Text(b), rest @ ..]) => Some(found(name, a, b, rest)),
        ("replace", [Val::Text(a), Val::Text(from), Val::Text(to), rest @ ..]) => {
            // What grows is paid for before it does.
            let count = limit(rest, a.len() + 1)?;
            let times = a.matches(&**from).take(count).count();
            let paid = evaluation.budget.spend(times.saturating_mul(to.len()) / 10);
            Some(paid.map(|()| Val::text(a.replacen(&**from, to, count))))
        }
        ("split", [Val::Text(a), Val::Text(by), rest @ ..]) => Some(split(evaluation, a, by, limit(rest, usize::MAX)?)),
        ("substring", [Val::Text(a), Val::Int(from), rest @ ..]) => Some(substring(a, *from, rest)),
        ("join", [list, rest @ ..]) => joined(evaluation, list, rest),
        ("format", [Val::Text(a), args]) => Some(formatted(evaluation, a, &args.items()?)),
        _ => None,
    }
}

/// How often, where a negative number or none means always.
fn limit(rest: &[Val<'_>], always: usize) -> Option<usize> {
    match rest {
        [] => Some(always),
        [Val::Int(count)] => Some(usize::try_from(*count).unwrap_or(always)),
        _ => None,
    }
}

fn searched<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    text: &str,
    pattern: &str,
    rest: &[Val<'a>],
) -> Evaluated<'a> {
    evaluation.budget.spend((1 + text.len() / 10).saturating_mul(1 + pattern.len() / 4))?;
    let Some(count) = limit(rest, usize::MAX) else { return Fault::error(format!("no such overload: {name}")) };
    let Evaluation { patterns, recent, budget, .. } = evaluation;
    let regex = match patterns.get(pattern) {
        Some(regex) => regex,
        None => recent.get(pattern, budget)?,
    };
    Ok(match name {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => Val::text(regex.find(text).map(|found| found.as_str()).unwrap_or_default()),
        _ => {
            let mut all = Vec::new();
            for found in regex.find_iter(text).take(count) {
                budget.spend(1)?;
                all.push(Val::text(found.as_str()));
            }
            Val::list(all)
        }
    })
}

fn char_at<'a>(text: &str, at: i64) -> Evaluated<'a> {
    let length = text.chars().count();
    match usize::try_from(at).ok().filter(|at| *at <= length) {
        Some(at) => Ok(Val::text(text.chars().nth(at).map(String::from).unwrap_or_default())),
        None => Fault::error(format!("index out of range: {at}")),
    }
}

/// Where a part begins: the first place from one on, or the last up to one.
fn found<'a>(name: &str, text: &str, part: &str, rest: &[Val<'a>]) -> Evaluated<'a> {
    let length = text.chars().count();
    let is_first = name == "indexOf";
    let from = match rest {
        [] if is_first => 0,
        [] => length.saturating_sub(usize::from(!part.is_empty())),
        [Val::Int(from)] => match usize::try_from(*from) {
            Ok(from) => from,
            Err(_) => return Fault::error(format!("index out of range: {from}")),
        },
        _ => return Fault::error(format!("no such overload: {name}")),
    };
    let place = if part.is_empty() {
        Some(from.min(length))
    } else if from >= length {
        None
    } else {
        let bytes = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
        let start = bytes(from);
        let at = if is_first {
            text.get(start..).and_then(|rest| rest.find(part)).map(|at| at + start)
        } else {
            let end = bytes(from.saturating_add(part.chars().count()));
            text.get(..end).and_then(|text| text.rfind(part))
        };
        at.map(|at| text.get(..at).unwrap_or_default().chars().count())
    };
    Ok(Val::Int(place.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn split<'a>(evaluation: &Evaluation<'a>, text: &str, by: &str, count: usize) -> Evaluated<'a> {
    evaluation.budget.spend(text.len() / 4)?;
    let parts: Vec<&str> = match (count, by) {
        (0, _) => Vec::new(),
        (usize::MAX, "") => text.split("").filter(|part| !part.is_empty()).collect(),
        _ => text.splitn(count, by).collect(),
    };
    evaluation.budget.spend(parts.len())?;
    Ok(Val::list(parts.into_iter().map(Val::text).collect()))
}

fn substring<'a>(text: &str, from: i64, rest: &[Val<'a>]) -> Evaluated<'a> {
    let length = text.chars().count();
    let to = match rest {
        [] => i64::try_from(length).unwrap_or(i64::MAX),
        [Val::Int(to)] => *to,
        _ => return Fault::error("no such overload: substring"),
    };
    let (Some(start), Some(end)) =
        (usize::try_from(from).ok().filter(|at| *at <= length), usize::try_from(to).ok().filter(|at| *at <= length))
    else {
        return Fault::error(format!("index out of range: {}", if from < 0 { from } else { to }));
    };
    if start > end {
        return Fault::error(format!("invalid substring range. start: {start}, end: {end}"));
    }
    Ok(Val::text(text.chars().skip(start).take(end - start).collect::<String>()))
}

fn joined<'a>(evaluation: &Evaluation<'a>, list: &Val<'a>, rest: &[Val<'a>]) -> Option<Evaluated<'a>> {
    let separator = match rest {
        [] => "",
        [Val::Text(separator)] => separator,
        _ => return None,
    };
    let items = list.items()?;
    let paid = evaluation.budget.spend(items.len().saturating_mul(separator.len()) / 10);
    let mut texts = Vec::with_capacity(items.len());
    for item in &items {
        let Val::Text(text) = item else { return Some(Fault::error("no such overload: join")) };
        texts.push(text.to_string());
    }
    Some(paid.map(|()| Val::text(texts.join(separator))))
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x`, `%X` and `%%`, with a precision.
fn formatted<'a>(evaluation: &Evaluation<'a>, format: &str, args: &[Val<'a>]) -> Evaluated<'a> {
    let (mut out, mut args) = (String::new(), args.iter());
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = String::new();
        if chars.next_if_eq(&'.').is_some() {
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision.push(digit);
            }
        }
        let places = precision.parse().unwrap_or(6_usize).min(100);
        let Some(verb) = chars.next() else {
            return Fault::error("unexpected end of string");
        };
        let Some(arg) = args.next() else {
            return Fault::error(format!("index {} out of range", args.len()));
        };
        let Some(text) = clause(verb, places, arg) else {
            let text = format!("error during formatting: %{verb} cannot show a value of type {}", arg.type_name());
            return Fault::error(text);
        };
        evaluation.budget.spend(text.len() / 10)?;
        out.push_str(&text);
    }
    Ok(Val::text(out))
}

fn clause(verb: char, places: usize, arg: &Val<'_>) -> Option<String> {
    Some(match (verb, arg) {
        ('s', value) => any(value)?,
        ('d', Val::Int(value)) => value.to_string(),
        ('d', Val::Uint(value)) => value.to_string(),
        ('d', Val::Double(value)) => convert::double(*value),
        ('f', value) => format!("{:.places$}", value.as_f64()?),
        ('e', value) => {
            let text = format!("{:.places$e}", value.as_f64()?);
            let (digits, exponent) = text.split_once('e')?;
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', value) => based(value, |value| format!("{value:b}"))?,
        ('o', value) => based(value, |value| format!("{value:o}"))?,
        ('x', Val::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Val::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('x', value) => based(value, |value| format!("{value:x}"))?,
        ('X', value) => based(value, |value| format!("{value:X}"))?,
        _ => return None,
    })
}

fn based(value: &Val<'_>, write: impl Fn(u64) -> String) -> Option<String> {
    Some(match value {
        Val::Int(value) if *value < 0 => format!("-{}", write(value.unsigned_abs())),
        Val::Int(value) => write(value.unsigned_abs()),
        Val::Uint(value) => write(*value),
        _ => return None,
    })
}

/// `%s` shows lists and maps too.
fn any(value: &Val<'_>) -> Option<String> {
    if let Some(items) = value.items() {
        return Some(format!("[{}]", items.iter().map(any).collect::<Option<Vec<_>>>()?.join(", ")));
    }
    if let Some(entries) = value.entries() {
        let entry = |(key, value): &(Val<'_>, Val<'_>)| Some(format!("{}: {}", any(key)?, any(value)?));
        return Some(format!("{{{}}}", entries.iter().map(entry).collect::<Option<Vec<_>>>()?.join(", ")));
    }
    convert::to_text(value)
}
