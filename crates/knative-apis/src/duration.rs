//! Durations as Go writes and reads them: `1m30s`, `500ms`, `0`.
//!
//! Annotations and ConfigMaps hold such texts, and messages show them.

use crate::go_text::quote_bytes as quote;
use jiff::SignedDuration;

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Fractions are read to so many digits; further ones change no nanosecond.
const FRACTION_DIGITS: usize = 18;

/// Why a text is no duration. The texts are Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not have the form of one, or is out of range.
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    /// A number has a unit that is none.
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads a duration: signed decimal numbers with units, as `-1.5h` or `1m30s`; or `0`.
///
/// # Errors
/// Go's message for a text that is none.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanos, after) = term(rest, text)?;
        total = total.checked_add(nanos).ok_or_else(invalid)?;
        rest = after;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map(SignedDuration::from_nanos).map_err(|_| invalid())
}

/// One number with its unit, in nanoseconds, and what follows it.
fn term<'a>(rest: &'a str, text: &str) -> Result<(i128, &'a str), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (whole, after) = split_digits(rest);
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => split_digits(after),
        None => ("", after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, after) = after.split_at(end);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let scale = scale.ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let nanos = whole.checked_mul(scale).ok_or_else(invalid)?;
    Ok((nanos.checked_add(fraction_of(fraction, scale)).ok_or_else(invalid)?, after))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn fraction_of(digits: &str, scale: i128) -> i128 {
    let mut divisor: i128 = 1;
    let mut value: i128 = 0;
    for digit in digits.bytes().take(FRACTION_DIGITS) {
        value = value * 10 + i128::from(digit - b'0');
        divisor *= 10;
    }
    value * scale / divisor
}

/// Writes a duration as Go does: `1h0m0s`, `1.5s`, `100ms`, `0s`.
pub fn format(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let second = 1_000_000_000_u128;
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000 {
        return format!("{sign}{nanos}ns");
    }
    if nanos < second {
        let (scale, unit) = if nanos < 1_000_000 { (1_000, "µs") } else { (1_000_000, "ms") };
        return format!("{sign}{}{unit}", decimal(nanos, scale));
    }
    let (hours, rest) = (nanos / (3_600 * second), nanos % (3_600 * second));
    let (minutes, rest) = (rest / (60 * second), rest % (60 * second));
    let seconds = decimal(rest, second);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / scale` (a power of ten) without trailing zeros.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Whether a duration has no part of a second.
pub fn is_whole_seconds(duration: SignedDuration) -> bool {
    duration.subsec_nanos() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("1m30s", 90_000_000_000),
            ("100ms", 100_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
        ] {
            assert_eq!(parse(text), Ok(SignedDuration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_in_gos_words() {
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("abc", "time: invalid duration \"abc\""),
            (".s", "time: invalid duration \".s\""),
            ("10", "time: missing unit in duration \"10\""),
            ("1s2", "time: missing unit in duration \"1s2\""),
            ("3d", "time: unknown unit \"d\" in duration \"3d\""),
            ("9999999999999h", "time: invalid duration \"9999999999999h\""),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (245_000_000_000, "4m5s"),
            (-4_530_918_273_645, "-1h15m30.918273645s"),
        ] {
            assert_eq!(format(SignedDuration::from_nanos(nanos)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in i64::MIN + 1..i64::MAX) {
            let duration = SignedDuration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
