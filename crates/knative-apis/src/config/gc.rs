//! config-gc: when revisions that no Route leads to are collected.

use super::reader::{Reader, parse_int};
use super::{ConfigError, ConfigMap};
use crate::duration;
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// The operator's settings of the collection of revisions. `None` is "disabled": the bound does
/// not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// How long a revision stays after it was made.
    pub retain_since_create_time: Option<SignedDuration>,
    /// How long a revision stays after a Route last led to it.
    pub retain_since_last_active_time: Option<SignedDuration>,
    /// How many unreachable revisions always stay.
    pub min_non_active_revisions: i64,
    /// How many unreachable revisions stay at most, whatever their age.
    pub max_non_active_revisions: Option<i64>,
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            retain_since_create_time: Some(SignedDuration::from_hours(48)),
            retain_since_last_active_time: Some(SignedDuration::from_hours(15)),
            min_non_active_revisions: 20,
            max_non_active_revisions: Some(1000),
        }
    }
}

impl ConfigMap for Gc {
    const NAME: &'static str = "config-gc";
    const KEYS: &'static [&'static str] = &[
        "max-non-active-revisions",
        "min-non-active-revisions",
        "retain-since-create-time",
        "retain-since-last-active-time",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let data = Reader(data);
        data.int("min-non-active-revisions", &mut config.min_non_active_revisions)
            .map_err(|error| ConfigError::Data(Box::new(error)))?;
        read(data, "retain-since-create-time", &mut config.retain_since_create_time, retention)?;
        read(data, "retain-since-last-active-time", &mut config.retain_since_last_active_time, retention)?;
        read(data, "max-non-active-revisions", &mut config.max_non_active_revisions, maximum)?;
        match config.problem() {
            Some(problem) => Err(ConfigError::Invalid(problem)),
            None => Ok(config),
        }
    }
}

impl Gc {
    fn problem(&self) -> Option<String> {
        let min = self.min_non_active_revisions;
        if min < 0 {
            return Some(format!("min-non-active-revisions must be non-negative, was: {min}"));
        }
        let max = self.max_non_active_revisions.filter(|max| min > *max)?;
        Some(format!("min-non-active-revisions({min}) must be <= max-non-active-revisions({max})"))
    }
}

fn read<T>(
    data: Reader<'_>,
    key: &str,
    target: &mut Option<T>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<(), ConfigError> {
    match data.text(key).map(str::trim) {
        None | Some("") => {}
        Some(text) if text.eq_ignore_ascii_case("disabled") => *target = None,
        Some(text) => {
            let value = parse(text).map_err(|why| ConfigError::Invalid(format!("failed to parse {key}: {why}")))?;
            *target = Some(value);
        }
    }
    Ok(())
}

fn retention(text: &str) -> Result<SignedDuration, String> {
    match duration::parse(text) {
        Err(error) => Err(error.to_string()),
        Ok(value) if value < SignedDuration::ZERO => Err("must be non-negative".to_owned()),
        Ok(value) => Ok(value),
    }
}

fn maximum(text: &str) -> Result<i64, String> {
    let value: u64 = parse_int(text, "ParseUint")?;
    i64::try_from(value).map_err(|_| format!("value should be lower than {}", i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Gc, String> {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Gc::parse(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        let config = parse(&[
            ("retain-since-create-time", "17h"),
            ("retain-since-last-active-time", "Disabled"),
            ("min-non-active-revisions", "5"),
            ("max-non-active-revisions", "disabled"),
        ]);
        let want = Gc {
            retain_since_create_time: Some(SignedDuration::from_hours(17)),
            retain_since_last_active_time: None,
            min_non_active_revisions: 5,
            max_non_active_revisions: None,
        };
        assert_eq!(config, Ok(want));
        assert_eq!(parse(&[("retain-since-create-time", "")]), Ok(Gc::default()));
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (key, value, message) in [
            (
                "retain-since-create-time",
                "invalid",
                "failed to parse retain-since-create-time: time: invalid duration \"invalid\"",
            ),
            (
                "retain-since-last-active-time",
                "-1h",
                "failed to parse retain-since-last-active-time: must be non-negative",
            ),
            (
                "max-non-active-revisions",
                "-1",
                "failed to parse max-non-active-revisions: strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
            (
                "max-non-active-revisions",
                "18446744073709551615",
                "failed to parse max-non-active-revisions: value should be lower than 9223372036854775807",
            ),
            ("max-non-active-revisions", "5", "min-non-active-revisions(20) must be <= max-non-active-revisions(5)"),
            ("min-non-active-revisions", "-1", "min-non-active-revisions must be non-negative, was: -1"),
            (
                "min-non-active-revisions",
                "x",
                "failed to parse data: failed to parse \"min-non-active-revisions\": strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(&[(key, value)]).expect_err(key), message);
        }
    }
}
