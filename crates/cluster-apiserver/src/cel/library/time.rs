//! Durations and points in time.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::value::Val;
use crate::schema;

const SECOND: i64 = 1_000_000_000;

pub(super) fn call<'a>(_: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    match (name, args) {
        (_, [Val::Timestamp(at)]) => part(name, *at, &TimeZone::UTC),
        (_, [Val::Timestamp(at), Val::Text(zone)]) => match zone_of(zone) {
            Some(zone) => part(name, *at, &zone),
            None => Some(Fault::error(format!("unknown time zone {}", &**zone))),
        },
        (_, [Val::Duration(nanos)]) => {
            let value = match name {
                "getHours" => nanos / (3600 * SECOND),
                "getMinutes" => nanos / (60 * SECOND),
                "getSeconds" => nanos / SECOND,
                "getMilliseconds" => nanos / 1_000_000 % 1000,
                _ => return None,
            };
            Some(Ok(Val::Int(value)))
        }
        _ => None,
    }
}

/// `UTC`, `+02:00`; other names need a table of zones that a machine may not have.
fn zone_of(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    if let Some((hours, minutes)) = rest.split_once(':') {
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
        return Some(TimeZone::fixed(Offset::from_seconds(sign * seconds).ok()?));
    }
    TimeZone::get(name).ok()
}

fn part<'a>(name: &str, at: Timestamp, zone: &TimeZone) -> Option<Evaluated<'a>> {
    let zoned = at.to_zoned(zone.clone());
    let value = match name {
        "getFullYear" => i64::from(zoned.year()),
        "getMonth" => i64::from(zoned.month()) - 1,
        "getDate" => i64::from(zoned.day()),
        "getDayOfMonth" => i64::from(zoned.day()) - 1,
        "getDayOfWeek" => i64::from(zoned.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(zoned.day_of_year()) - 1,
        "getHours" => i64::from(zoned.hour()),
        "getMinutes" => i64::from(zoned.minute()),
        "getSeconds" => i64::from(zoned.second()),
        "getMilliseconds" => i64::from(zoned.millisecond()),
        _ => return None,
    };
    Some(Ok(Val::Int(value)))
}

/// `duration(x)` and `timestamp(x)`.
pub(super) fn converted<'a>(name: &str, value: &Val<'a>) -> Option<Evaluated<'a>> {
    Some(match (name, value) {
        ("duration", Val::Duration(_)) | ("timestamp", Val::Timestamp(_)) => Ok(value.clone()),
        ("duration", Val::Int(nanos)) => Ok(Val::Duration(*nanos)),
        ("duration", Val::Text(text)) => schema::duration(text)
            .map(Val::Duration)
            .ok_or_else(|| Fault::Error(format!("time: invalid duration {}", crate::field_error::quote(text)))),
        ("timestamp", Val::Int(seconds)) => {
            let at = Timestamp::from_second(*seconds).map(Val::Timestamp);
            at.map_err(|_| Fault::Error("timestamp overflow".to_owned()))
        }
        ("timestamp", Val::Text(text)) => {
            let at = text.parse().map(Val::Timestamp);
            at.map_err(|_| Fault::Error(format!("parsing time {} failed", crate::field_error::quote(text))))
        }
        _ => return None,
    })
}

pub(super) fn duration<'a>(nanos: Option<i64>) -> Evaluated<'a> {
    nanos.map(Val::Duration).ok_or_else(|| Fault::Error("duration overflow".to_owned()))
}

/// A point in time, and so much later.
pub(super) fn moved<'a>(at: Timestamp, nanos: i64) -> Evaluated<'a> {
    let moved = at.checked_add(jiff::SignedDuration::from_nanos(nanos));
    moved.map(Val::Timestamp).map_err(|_| Fault::Error("timestamp overflow".to_owned()))
}

/// A day, as midnight.
pub(in super::super) fn parse_date(text: &str) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The text of a duration in conversions: seconds.
pub(super) fn duration_text(nanos: i64) -> String {
    let (seconds, rest) = (nanos.unsigned_abs() / SECOND.unsigned_abs(), nanos.unsigned_abs() % SECOND.unsigned_abs());
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:09}").trim_end_matches('0').to_owned() };
    format!("{sign}{seconds}{fraction}s")
}
