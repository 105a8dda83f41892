//! One field of a schedule: the set of values that it takes.

/// The lowest and highest value of a field, and the names that its values have.
pub(crate) struct Bounds {
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

pub(crate) const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
pub(crate) const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
pub(crate) const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
pub(crate) const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
pub(crate) const WEEKDAYS: Bounds =
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// The values of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Field {
    /// A bit for each value.
    values: u64,
    /// Whether it restricts nothing.
    pub(crate) is_any: bool,
}

impl Field {
    /// Reads ranges separated by commas.
    pub(crate) fn parse(text: &str, bounds: &Bounds) -> Result<Self, String> {
        let mut field = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let range = Self::range(part, bounds)?;
            field.values |= range.values;
            field.is_any |= range.is_any;
        }
        Ok(field)
    }

    pub(crate) fn has(self, value: i8) -> bool {
        u32::try_from(value).ok().and_then(|value| self.values.checked_shr(value)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Reads `*`, `3` or `1-5`, each with an optional `/step`.
    fn range(text: &str, bounds: &Bounds) -> Result<Self, String> {
        let mut parts = text.split('/');
        let span = parts.next().unwrap_or_default();
        let (step_text, is_long) = (parts.next(), parts.next().is_some());
        let ends: Vec<&str> = span.split('-').collect();
        let (start, mut end, mut is_any) = match ends.as_slice() {
            ["*" | "?", ..] => (u64::from(bounds.min), u64::from(bounds.max), true),
            [one] => {
                let one = value(one, bounds)?;
                (one, one, false)
            }
            [low, high] => (value(low, bounds)?, value(high, bounds)?, false),
            _ => return Err(format!("too many hyphens: {text}")),
        };
        if is_long {
            return Err(format!("too many slashes: {text}"));
        }
        let mut step = 1;
        if let Some(step_text) = step_text {
            step = number(step_text)?;
            if ends.len() == 1 {
                end = u64::from(bounds.max);
            }
            is_any &= step <= 1;
        }
        check(start, end, step, bounds).map_err(|why| format!("{why}: {text}"))?;
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let values = (start..=end).step_by(step).fold(0, |bits, value| bits | 1u64 << value);
        Ok(Self { values, is_any })
    }
}

fn check(start: u64, end: u64, step: u64, bounds: &Bounds) -> Result<(), String> {
    let (min, max) = (bounds.min, bounds.max);
    if start < u64::from(min) {
        return Err(format!("beginning of range ({start}) below minimum ({min})"));
    }
    if end > u64::from(max) {
        return Err(format!("end of range ({end}) above maximum ({max})"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end})"));
    }
    if step == 0 {
        return Err("step of range should be a positive number".to_owned());
    }
    Ok(())
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    match (u64::from(bounds.min)..).zip(bounds.names).find(|(_, name)| **name == lower) {
        Some((value, _)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}
