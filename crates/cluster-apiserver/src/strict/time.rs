//! Times as Go reads and writes them: RFC 3339 with whole seconds, or with six digits of fraction.
//!
//! The readers answer with the canonical text in UTC, `None` for Go's zero time, and an error in the words of Go's
//! `time.Parse`, which names the piece of the layout that did not fit.

use jiff::{Timestamp, civil, tz::Offset};

const SECONDS_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICROS_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads a time with whole seconds; a fraction is cut off.
pub(super) fn canonical_time(text: &str) -> Result<Option<String>, String> {
    let time = Parser::new(text, SECONDS_LAYOUT).parse(false)?;
    Ok(time.map(format_time))
}

/// Reads a time with exactly six digits of fraction.
pub(super) fn canonical_micro_time(text: &str) -> Result<Option<String>, String> {
    let time = Parser::new(text, MICROS_LAYOUT).parse(true)?;
    Ok(time.map(format_micro_time))
}

/// The canonical text of a time with whole seconds.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The canonical text of a time with microseconds.
pub fn format_micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, layout: &'static str) -> Self {
        Self { text, rest: text, layout }
    }

    fn error(&self, element: &str) -> String {
        use crate::field_error::quote;
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.text),
            quote(self.layout),
            quote(self.rest),
            quote(element)
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {}: {what} out of range", crate::field_error::quote(self.text))
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| self.error(text))?;
        Ok(())
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        let head = self.rest.get(..count).filter(|head| head.bytes().all(|b| b.is_ascii_digit()));
        let number = head.and_then(|head| head.parse().ok()).ok_or_else(|| self.error(element))?;
        self.rest = self.rest.get(count..).unwrap_or_default();
        Ok(number)
    }

    fn ranged(&mut self, element: &str, range: std::ops::RangeInclusive<i32>, what: &str) -> Result<i8, String> {
        let number = self.digits(2, element)?;
        if !range.contains(&number) {
            return Err(self.out_of_range(what));
        }
        i8::try_from(number).map_err(|_| self.out_of_range(what))
    }

    fn parse(mut self, has_micros: bool) -> Result<Option<Timestamp>, String> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.ranged("01", 1..=12, "month")?;
        self.literal("-")?;
        let day = self.ranged("02", 1..=31, "day")?;
        self.literal("T")?;
        let hour = self.ranged("15", 0..=23, "hour")?;
        self.literal(":")?;
        let minute = self.ranged("04", 0..=59, "minute")?;
        self.literal(":")?;
        let second = self.ranged("05", 0..=59, "second")?;
        let nanosecond = if has_micros { self.micros()? } else { self.fraction() };
        let offset_s = self.offset()?;
        if !self.rest.is_empty() {
            let rest = crate::field_error::quote(self.rest);
            return Err(format!("parsing time {}: extra text: {rest}", crate::field_error::quote(self.text)));
        }
        let date = civil::Date::new(i16::try_from(year).unwrap_or_default(), month, day);
        let date = date.map_err(|_| self.out_of_range("day"))?;
        let time = civil::Time::new(hour, minute, second, nanosecond).map_err(|_| self.out_of_range("second"))?;
        let offset = Offset::from_seconds(offset_s).map_err(|_| self.out_of_range("time zone offset"))?;
        let time = offset.to_timestamp(date.to_datetime(time)).map_err(|_| self.out_of_range("year"))?;
        let is_zero = date == civil::date(1, 1, 1) && offset_s == 0 && hour == 0 && minute == 0 && second == 0;
        Ok((!is_zero).then_some(time))
    }

    /// Exactly a dot and six digits.
    fn micros(&mut self) -> Result<i32, String> {
        let element = ".000000";
        let digits = self.rest.get(1..7).filter(|_| self.rest.starts_with('.'));
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let micros: i32 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.error(element))?;
        self.rest = self.rest.get(7..).unwrap_or_default();
        Ok(micros * 1000)
    }

    /// Any fraction after the seconds, which Go accepts without asking for it; whole seconds remain.
    fn fraction(&mut self) -> i32 {
        if let Some(rest) = self.rest.strip_prefix(['.', ',']) {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                self.rest = rest.get(digits..).unwrap_or_default();
            }
        }
        0
    }

    fn offset(&mut self) -> Result<i32, String> {
        let element = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let error = self.error(element);
        let mut tail = Parser { text: self.text, rest: self.rest, layout: self.layout };
        let sign = match tail.rest.bytes().next() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(error),
        };
        tail.rest = tail.rest.get(1..).unwrap_or_default();
        let hours = tail.digits(2, element).map_err(|_| error.clone())?;
        tail.literal(":").map_err(|_| error.clone())?;
        let minutes = tail.digits(2, element).map_err(|_| error)?;
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = tail.rest;
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc() {
        let time = |text| canonical_time(text).expect(text);
        assert_eq!(time("2024-01-01T00:00:00.123+02:00").as_deref(), Some("2023-12-31T22:00:00Z"));
        assert_eq!(time("2024-01-01T00:00:00Z").as_deref(), Some("2024-01-01T00:00:00Z"));
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        let micro = |text| canonical_micro_time(text).expect(text);
        assert_eq!(micro("2024-01-01T00:00:00.120000+02:00").as_deref(), Some("2023-12-31T22:00:00.120000Z"));
    }

    #[test]
    fn errors_are_those_of_go() {
        assert_eq!(
            canonical_time("x").expect_err("no time"),
            r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#
        );
        assert_eq!(
            canonical_time("2024-13-01T00:00:00Z").expect_err("no month"),
            r#"parsing time "2024-13-01T00:00:00Z": month out of range"#
        );
        assert_eq!(
            canonical_micro_time("2024-01-01T00:00:00+00:00").expect_err("no fraction"),
            r#"parsing time "2024-01-01T00:00:00+00:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "+00:00" as ".000000""#
        );
        for text in
            ["", "2024", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00+0", "2024-01-01T00:00:00Zx", "é"]
        {
            assert!(canonical_time(text).is_err(), "{text}");
        }
    }
}
