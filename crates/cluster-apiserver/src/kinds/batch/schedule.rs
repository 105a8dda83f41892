//! The form of a CronJob's schedule: five fields, or a descriptor such as `@daily`.
//!
//! Only the form is checked here, with the texts of the parser that Kubernetes uses; when a schedule is due is the
//! CronJob controller's business.

/// The names of a field's values, and its lowest and highest value.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// What is wrong with a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if let Some(zoned) = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        let (zone, fields) = zoned.split_once(' ').ok_or_else(|| "invalid schedule format".to_owned())?;
        jiff::tz::TimeZone::get(zone).map_err(|_| format!("provided bad location {zone}: unknown time zone {zone}"))?;
        rest = fields.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (text, bounds) in fields.iter().zip(&FIELDS) {
        for part in text.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    const KNOWN: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if KNOWN.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => Err(format!(
            "failed to parse duration {text}: time: invalid duration {}",
            crate::field_error::quote(duration)
        )),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// Whether a text is a duration such as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let tail = units.iter().find_map(|unit| number.strip_prefix(unit).filter(|tail| !tail.starts_with('s')));
        match tail {
            Some(tail) if number.len() < rest.len() => rest = tail,
            _ => return false,
        }
    }
    true
}

/// Checks one range: `*`, `3`, `1-5`, each with an optional `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let mut parts = text.split('/');
    let span = parts.next().unwrap_or_default();
    let step = parts.next();
    if parts.next().is_some() {
        return Err(format!("too many slashes: {text}"));
    }
    let ends: Vec<&str> = span.split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [one] => {
            let one = value(one, bounds)?;
            (one, one)
        }
        [low, high] => (value(low, bounds)?, value(high, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    if let Some(step) = step {
        if ends.len() == 1 {
            end = bounds.max;
        }
        if number(step)? == 0 {
            check_order(start, end, bounds, text)?;
            return Err(format!("step of range should be a positive number: {text}"));
        }
    }
    check_order(start, end, bounds, text)
}

fn check_order(start: u64, end: u64, bounds: &Bounds, text: &str) -> Result<(), String> {
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(index) => Ok(bounds.min + u64::try_from(index).unwrap_or_default()),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let quoted = crate::field_error::quote(text);
    let parsed: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"))?;
    u64::try_from(parsed).map_err(|_| format!("negative number ({parsed}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_checked() {
        for good in ["* * * * *", "*/5 0-23/2 1,15 jan-mar MON", "@hourly", "@every 1h30m", "0 0 ? * 1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let wrong = |text| check(text).expect_err(text);
        assert_eq!(wrong("* * *"), "expected exactly 5 fields, found 3: [* * *]");
        assert_eq!(wrong("60 * * * *"), "end of range (60) above maximum (59): 60");
        assert_eq!(wrong("* * 0 * *"), "beginning of range (0) below minimum (1): 0");
        assert_eq!(wrong("a * * * *"), "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax");
        assert_eq!(wrong("5-1 * * * *"), "beginning of range (5) beyond end of range (1): 5-1");
        assert_eq!(wrong("*/0 * * * *"), "step of range should be a positive number: */0");
        assert_eq!(wrong("@often"), "unrecognized descriptor: @often");
        assert_eq!(wrong("1/2/3 * * * *"), "too many slashes: 1/2/3");
    }
}
