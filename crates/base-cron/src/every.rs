//! The interval of `@every`: a duration as Go writes it, such as `1h30m`.

use jiff::SignedDuration;

const UNITS_NS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads an interval of whole seconds, at least one.
pub(crate) fn parse(text: &str) -> Result<SignedDuration, String> {
    let seconds = nanoseconds(text)? / 1_000_000_000;
    let seconds = i64::try_from(seconds).map_err(|_| invalid(text))?;
    Ok(SignedDuration::from_secs(seconds.max(1)))
}

fn nanoseconds(text: &str) -> Result<i128, String> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid(text));
    }
    let mut sum = 0i128;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let part = decimal(number).ok_or_else(|| invalid(text))?;
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, unit_ns)) = UNITS_NS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let (whole, fraction, scale) = part;
        let part_ns = whole.checked_mul(*unit_ns).map(|whole_ns| whole_ns + fraction * unit_ns / scale);
        sum = part_ns.and_then(|part_ns| sum.checked_add(part_ns)).ok_or_else(|| invalid(text))?;
        rest = tail;
    }
    if i64::try_from(sum).is_err() {
        return Err(invalid(text));
    }
    Ok(if is_negative { -sum } else { sum })
}

/// Whole part, and fraction of a power of ten.
fn decimal(text: &str) -> Option<(i128, i128, i128)> {
    /// Digits of a fraction that can matter.
    const MAX_DIGITS: usize = 15;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = fraction.get(..fraction.len().min(MAX_DIGITS))?;
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    Some((number(whole)?, number(digits)?, 10i128.pow(u32::try_from(digits.len()).ok()?)))
}

fn invalid(text: &str) -> String {
    format!("time: invalid duration {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let seconds = |text: &str| parse(text).map(|interval| interval.as_secs());
        for (text, expected) in [("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("1m0.9s", 60), (".5m", 30), ("-3h", 1)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "-", "h", "1.2.3s", "9999999999999h"] {
            assert_eq!(seconds(text), Err(format!("time: invalid duration {text:?}")));
        }
        assert_eq!(seconds("1x"), Err("time: unknown unit \"x\" in duration \"1x\"".to_owned()));
    }
}
