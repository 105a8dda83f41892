//! Conversions between types, which fail rather than lose anything but fractions.

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::Val;
use super::time;

pub(super) fn call<'a>(_: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    match (name, args) {
        ("dyn", [value]) => Some(Ok(value.clone())),
        ("type", [value]) => Some(Ok(Val::Type(value.type_name()))),
        ("string", [value]) => to_text(value).map(|text| Ok(Val::text(text))),
        ("bool", [Val::Bool(value)]) => Some(Ok(Val::Bool(*value))),
        ("bool", [Val::Text(text)]) => Some(match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Fault::error("type conversion error from 'string' to 'bool'"),
        }),
        ("bytes", [Val::Text(text)]) => Some(Ok(Val::Bytes(text.as_bytes().into()))),
        ("bytes", [value @ Val::Bytes(_)]) => Some(Ok(value.clone())),
        ("double", [Val::Text(text)]) => Some(text.parse().map(Val::Double).map_err(|_| wrong("string", "double"))),
        ("double", [value]) => value.as_f64().map(|number| Ok(Val::Double(number))),
        ("int", [Val::Text(text)]) => Some(text.parse().map(Val::Int).map_err(|_| wrong("string", "int"))),
        ("uint", [Val::Text(text)]) => Some(text.parse().map(Val::Uint).map_err(|_| wrong("string", "uint"))),
        ("int", [value]) => Some(to_int(value)?.map(Val::Int).ok_or_else(out_of_range)),
        ("uint", [value]) => Some(to_uint(value)?.map(Val::Uint).ok_or_else(out_of_range)),
        ("duration" | "timestamp", [value]) => time::converted(name, value),
        _ => None,
    }
}

fn wrong(from: &str, to: &str) -> Fault {
    Fault::Error(format!("type conversion error from '{from}' to '{to}'"))
}

fn out_of_range() -> Fault {
    Fault::Error("range error: the value does not fit".to_owned())
}

/// `None` where there is no such conversion, `Some(None)` where the value does not fit.
fn to_int(value: &Val<'_>) -> Option<Option<i64>> {
    Some(match value {
        Val::Int(value) => Some(*value),
        Val::Uint(value) => i64::try_from(*value).ok(),
        Val::Double(value) => whole(*value),
        Val::Timestamp(at) => Some(at.as_second()),
        Val::Duration(nanos) => Some(*nanos),
        _ => return None,
    })
}

fn to_uint(value: &Val<'_>) -> Option<Option<u64>> {
    Some(match value {
        Val::Uint(value) => Some(*value),
        Val::Int(value) => u64::try_from(*value).ok(),
        Val::Double(value) => truncated(*value).and_then(|value| u64::try_from(value).ok()),
        _ => return None,
    })
}

/// A number without its fraction, if it fits.
pub(in super::super) fn whole(value: f64) -> Option<i64> {
    truncated(value).and_then(|value| i64::try_from(value).ok())
}

#[expect(clippy::cast_possible_truncation, reason = "fractions are dropped, and the size was looked at")]
fn truncated(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 1e30).then_some(value as i128)
}

/// The text of a value that has one.
pub(super) fn to_text(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Text(text) => text.to_string(),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Double(value) => double(*value),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Timestamp(at) => at.to_string(),
        Val::Duration(nanos) => time::duration_text(*nanos),
        Val::Ip(ip) => ip.to_string(),
        Val::Cidr(cidr) => cidr.to_string(),
        Val::Null => "null".to_owned(),
        Val::Type(name) => (*name).to_owned(),
        _ => return None,
    })
}

/// A number as Go's `%g` writes it.
pub(super) fn double(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) && value.is_finite() {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}
