//! Cron schedules as Kubernetes understands them: five fields, or a descriptor such as `@daily`; and when one is due next.
//!
//! Who checks a schedule and who follows it must agree on what it means, so both ask here. Language and error texts are those of the
//! standard parser of `github.com/robfig/cron/v3`, which Kubernetes uses.
//!
//! What this crate knows: a text, a time zone, an instant. **What it must not know**: what is done when a schedule is due, and what time it is.

mod every;
mod field;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use field::{DAYS, Field, HOURS, MINUTES, MONTHS, WEEKDAYS};

/// A schedule that is due on no day within so many years is never due.
const MAX_YEARS: i16 = 5;

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

/// When something is due, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(Rule);

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Calendar(Box<Calendar>),
    /// At intervals of whole seconds.
    Every(SignedDuration),
}

#[derive(Clone, Debug, PartialEq)]
struct Calendar {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule such as `*/5 8-18 * * mon-fri`, `@hourly`, `@every 1h30m`, or one of these after `TZ=Europe/Paris `. Without a zone it
    /// is in UTC.
    ///
    /// # Errors
    /// The text is no schedule.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.is_empty() {
            return Err(error("empty spec string"));
        }
        let (zone, rest) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            None => (TimeZone::UTC, text),
            Some(zoned) => {
                let (name, rest) = zoned.split_once(' ').ok_or_else(|| error("invalid schedule format"))?;
                (self::zone(name)?, rest.trim())
            }
        };
        if let Some(interval) = rest.strip_prefix("@every ") {
            let interval = every::parse(interval);
            let interval = interval.map_err(|why| error(format!("failed to parse duration {rest}: {why}")))?;
            return Ok(Self(Rule::Every(interval)));
        }
        let fields = if rest.starts_with('@') { described(rest)? } else { rest };
        Calendar::parse(fields, zone).map(|calendar| Self(Rule::Calendar(Box::new(calendar))))
    }

    /// The first instant after `after` at which it is due; none if that never comes.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Rule::Calendar(calendar) => calendar.next(after),
            Rule::Every(interval) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*interval).ok(),
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(name).map_err(|_| error(format!("provided bad location {name}: unknown time zone {name}")))
}

/// The five fields that a descriptor stands for.
fn described(descriptor: &str) -> Result<&'static str, ScheduleError> {
    Ok(match descriptor {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(error(format!("unrecognized descriptor: {descriptor}"))),
    })
}

impl Calendar {
    fn parse(text: &str, zone: TimeZone) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(error(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "))));
        };
        let read = |text: &str, bounds| Field::parse(text, bounds).map_err(error);
        Ok(Self {
            minute: read(minute, &MINUTES)?,
            hour: read(hour, &HOURS)?,
            day: read(day, &DAYS)?,
            month: read(month, &MONTHS)?,
            weekday: read(weekday, &WEEKDAYS)?,
            zone,
        })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let minute = after.as_second().div_euclid(60) + 1;
        let mut at = Timestamp::from_second(minute * 60).ok()?.to_zoned(self.zone.clone());
        let last_year = at.year() + MAX_YEARS;
        while at.year() <= last_year {
            at = if !self.month.has(at.month()) {
                start_of(&at.first_of_month().ok()?.checked_add(Span::new().months(1)).ok()?)?
            } else if !self.has_day(&at) {
                start_of(&at.tomorrow().ok()?)?
            } else if !self.hour.has(at.hour()) {
                at.checked_add(SignedDuration::from_mins(60 - i64::from(at.minute()))).ok()?
            } else if !self.minute.has(at.minute()) {
                at.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }

    /// If both are restricted, a day of either will do.
    fn has_day(&self, at: &Zoned) -> bool {
        let is_day = self.day.has(at.day());
        let is_weekday = self.weekday.has(at.weekday().to_sunday_zero_offset());
        if self.day.is_any || self.weekday.is_any { is_day && is_weekday } else { is_day || is_weekday }
    }
}

/// The first instant of a day, which is not midnight where clocks are put forward at midnight.
fn start_of(day: &Zoned) -> Option<Zoned> {
    day.date().to_datetime(Time::midnight()).to_zoned(day.time_zone().clone()).ok()
}

fn error(text: impl Into<String>) -> ScheduleError {
    ScheduleError(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap());
        next.map(|at| at.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_schedule_is_due() {
        let rows = [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 * * * *", "2026-01-01T00:06:00Z", "2026-01-01T00:25:00Z"),
            ("0 9-17/4 * * mon-fri", "2026-01-02T17:00:00Z", "2026-01-05T09:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 13 * FRI", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("0 0 ? * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"),
            ("59 23 31 2 *", "2026-01-01T00:00:00Z", ""),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00.7Z", "2026-01-01T01:30:00Z"),
            ("@every 5ms", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("TZ=Europe/Berlin 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"),
            ("CRON_TZ=Asia/Kolkata 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T03:30:00Z"),
        ];
        for (schedule, after, expected) in rows {
            assert_eq!(next(schedule, after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_skip_and_back_repeat() {
        let in_new_york = |fields: &str, after: &str| next(&format!("TZ=America/New_York {fields}"), after);
        assert_eq!(in_new_york("30 2 * * *", "2026-03-08T00:00:00-05:00"), "2026-03-09T06:30:00Z");
        assert_eq!(in_new_york("30 1 * * *", "2026-11-01T00:00:00-04:00"), "2026-11-01T05:30:00Z");
        assert_eq!(in_new_york("30 1 * * *", "2026-11-01T01:30:00-04:00"), "2026-11-01T06:30:00Z");
        // There is no midnight on that day.
        assert_eq!(next("TZ=America/Sao_Paulo 0 1 * * *", "2018-11-03T12:00:00Z"), "2018-11-04T03:00:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let rows = [
            ("", "empty spec string"),
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("-1 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
            ("TZ=Mars/North * * * * *", "provided bad location Mars/North: unknown time zone Mars/North"),
            ("TZ=Mars/North", "invalid schedule format"),
        ];
        for (text, expected) in rows {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
