//! Reads typed values out of a ConfigMap, with Go's texts for what cannot be read.

use super::ConfigError;
use crate::duration;
use crate::go_text::quote;
use crate::quantity::Quantity;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::num::IntErrorKind;

/// The data of a ConfigMap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a BTreeMap<String, String>);

type Read = Result<(), ConfigError>;

impl Reader<'_> {
    fn value<T>(self, key: &str, target: &mut T, read: impl FnOnce(&str) -> Result<T, String>) -> Read {
        let Some(text) = self.0.get(key) else { return Ok(()) };
        *target = read(text).map_err(|message| ConfigError::Parse { key: key.to_owned(), message })?;
        Ok(())
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A text without the spaces around it.
    pub(super) fn string(self, key: &str, target: &mut String) -> Read {
        self.value(key, target, |text| Ok(text.trim().to_owned()))
    }

    /// A truth, as Go reads it.
    pub(super) fn bool(self, key: &str, target: &mut bool) -> Read {
        self.value(key, target, |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
        })
    }

    /// A whole number.
    pub(super) fn int<T: std::str::FromStr<Err = std::num::ParseIntError>>(self, key: &str, target: &mut T) -> Read {
        self.value(key, target, |text| parse_int(text, "ParseInt"))
    }

    /// A whole number that is not negative.
    pub(super) fn unsigned(self, key: &str, target: &mut u32) -> Read {
        self.value(key, target, |text| parse_int(text, "ParseUint"))
    }

    /// A number; `NaN` and infinities are none.
    pub(super) fn float(self, key: &str, target: &mut f64) -> Read {
        self.value(key, target, |text| {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
        })
    }

    /// A duration.
    pub(super) fn duration(self, key: &str, target: &mut SignedDuration) -> Read {
        self.value(key, target, |text| duration::parse(text).map_err(|error| error.to_string()))
    }

    /// An amount.
    pub(super) fn quantity(self, key: &str, target: &mut Option<Quantity>) -> Read {
        self.value(key, target, |text| Quantity::parse(text).map(Some).map_err(|error| error.to_string()))
    }

    /// Texts joined by commas.
    pub(super) fn string_set(self, key: &str, target: &mut BTreeSet<String>) -> Read {
        self.value(key, target, |text| Ok(text.split(',').map(|item| item.trim().to_owned()).collect()))
    }
}

/// Reads a whole number; the error is Go's.
pub(super) fn parse_int<T>(text: &str, function: &str) -> Result<T, String>
where
    T: std::str::FromStr<Err = std::num::ParseIntError>,
{
    text.parse::<T>().map_err(|error| {
        let problem = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {}: {problem}", quote(text))
    })
}
