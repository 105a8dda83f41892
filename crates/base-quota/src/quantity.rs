//! Kubernetes quantities such as `500m`, `1Gi` or `2e3`: parsing, arithmetic in comparisons, the canonical text.
//!
//! A quantity is kept as a whole number of billionths, which is its smallest unit in Kubernetes too; smaller amounts
//! round up, so that asking for very little still gives something. The text is canonical: the largest suffix that
//! leaves a whole number, in the family (decimal, binary, exponent) in which the quantity was written. One quirk is
//! kept: a decimal text that is *almost* canonical, such as `1.500`, stays as it was written.
//!
//! Specified by apimachinery's `resource.Quantity`.

use std::{cmp::Ordering, fmt};

const NANOS: i128 = 1_000_000_000;
const LONGEST_TEXT: usize = 64;
const MAX_DIGITS_KEPT: usize = 18;

/// An amount of a resource.
#[derive(Debug, Clone)]
pub struct Quantity {
    nanos: i128,
    family: Family,
    text: Option<String>,
}

/// The family of suffixes in which a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// `m`, `k`, `M`, …
    Decimal,
    /// `Ki`, `Mi`, …
    Binary,
    /// `e3`, `E6`, …
    Exponent,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not have the form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

struct Parts<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let is_negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = split_digits(rest);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let exponent = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if !split_digits(exponent).1.is_empty() {
        return Err(QuantityError::Form);
    }
    let whole = whole.trim_start_matches('0');
    // A missing number is nothing, as in Kubernetes; the zero also says that the text is not canonical.
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Parts { is_negative, whole, fraction, suffix })
}

/// The family, and the power of ten or the power of two of a suffix.
fn scale_of(suffix: &str) -> Result<(Family, i32), QuantityError> {
    let decimal = |power| Ok((Family::Decimal, power));
    let binary = |power| Ok((Family::Binary, power));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            Ok((Family::Exponent, power.parse().map_err(|_| QuantityError::Suffix)?))
        }
    }
}

/// `value × 10^power`, rounded up in size, held at the largest number there is.
fn scaled(value: i128, power: i32) -> i128 {
    if power >= 0 {
        let factor = 10_i128.checked_pow(power.unsigned_abs()).unwrap_or(i128::MAX);
        return value.saturating_mul(factor);
    }
    match 10_i128.checked_pow(power.unsigned_abs()) {
        Some(divisor) => value / divisor + i128::from(value % divisor != 0),
        None => i128::from(value != 0),
    }
}

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > LONGEST_TEXT || !text.is_ascii() {
            return Err(QuantityError::Form);
        }
        let parts = split(text)?;
        let (family, power) = scale_of(parts.suffix)?;
        let digits = format!("{}{}", parts.whole, parts.fraction);
        let mantissa = digits.parse().unwrap_or(i128::MAX);
        let places = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let nanos = match family {
            Family::Binary => {
                let whole = 1_i128.checked_shl(power.unsigned_abs()).unwrap_or(i128::MAX);
                let cap = i128::from(i64::MAX) * NANOS;
                scaled(mantissa.saturating_mul(whole), 9_i32.saturating_sub(places)).min(cap)
            }
            _ => scaled(mantissa, power.saturating_sub(places).saturating_add(9)),
        };
        let is_below_one = nanos > 0 && nanos < NANOS;
        let family = if family == Family::Binary && is_below_one { Family::Decimal } else { family };
        let nanos = if parts.is_negative { -nanos } else { nanos };
        let text = is_kept(&digits, family, power.saturating_sub(places)).then(|| text.to_owned());
        Ok(Self { nanos, family, text })
    }

    /// A whole number of units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, family: Family::Decimal, text: None }
    }

    /// Whether the amount is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The amount in units, rounded up.
    pub fn units(&self) -> i64 {
        clamp(divide_up(self.nanos, NANOS))
    }

    /// The amount in thousandths, rounded up.
    pub fn millis(&self) -> i64 {
        clamp(divide_up(self.nanos, NANOS / 1000))
    }

    /// The amount rounded up to thousandths, the precision of resources in a Pod.
    pub fn round_up_to_millis(self) -> Self {
        self.round_up_to(NANOS / 1000)
    }

    /// The amount rounded up to whole units.
    pub fn round_up_to_units(self) -> Self {
        self.round_up_to(NANOS)
    }

    fn round_up_to(self, step: i128) -> Self {
        if self.nanos % step == 0 {
            return self;
        }
        Self { nanos: divide_up(self.nanos, step).saturating_mul(step), text: None, ..self }
    }

    /// The sum, in this quantity's family unless it is nothing.
    pub fn plus(&self, other: &Self) -> Self {
        let family = if self.is_zero() { other.family } else { self.family };
        Self { nanos: self.nanos.saturating_add(other.nanos), family, text: None }
    }

    /// The same amount less than nothing.
    pub fn negated(&self) -> Self {
        Self { nanos: -self.nanos, family: self.family, text: None }
    }

    /// The amount as a number that may be a little off.
    #[expect(clippy::cast_precision_loss, reason = "it is approximate")]
    pub fn approximate(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    fn decimal_parts(&self) -> (i128, i32) {
        let (mut number, mut power) = (self.nanos, -9);
        while number % 1000 == 0 && power < 18 {
            number /= 1000;
            power += 3;
        }
        (number, power)
    }
}

/// Whether the text stays as it was written: its scale is that of a suffix, and it is not shortened by the next one.
fn is_kept(digits: &str, family: Family, scale: i32) -> bool {
    let is_short = digits.len() <= MAX_DIGITS_KEPT;
    let is_full = !digits.ends_with("000") && !digits.starts_with('0');
    family != Family::Binary && is_short && is_full && scale % 3 == 0 && scale >= -9
}

fn divide_up(value: i128, step: i128) -> i128 {
    let rest = value % step;
    value / step + rest.signum()
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let is_binary = self.family == Family::Binary && self.is_whole() && self.nanos.abs() >= 1024 * NANOS;
        if is_binary {
            let mut number = self.nanos / NANOS;
            let mut steps = 0_usize;
            while number % 1024 == 0 && steps < 6 {
                number /= 1024;
                steps += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(steps).copied().unwrap_or_default();
            return write!(f, "{number}{suffix}");
        }
        let (number, power) = self.decimal_parts();
        if self.family == Family::Exponent {
            return if power == 0 { write!(f, "{number}") } else { write!(f, "{number}e{power}") };
        }
        let suffix = match power {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            _ => "",
        };
        write!(f, "{number}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_canonical() {
        // As apimachinery's Quantity writes them.
        let table = include_str!("../testdata/quantities.txt");
        let mut rows = 0;
        for line in table.lines() {
            let (text, want) = line.split_once('\t').expect("two columns");
            let got = Quantity::parse(text).map_or_else(|error| format!("!{error}"), |q| q.to_string());
            assert_eq!(got, want, "{text:?}");
            rows += 1;
        }
        assert!(rows > 60, "{rows} rows");
    }

    #[test]
    fn amounts_compare_and_round() {
        let q = |text| Quantity::parse(text).expect(text);
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("1000m"), q("1"));
        assert_eq!(q("1.5").millis(), 1500);
        assert_eq!(q("1n").units(), 1);
        assert_eq!(q("100u").round_up_to_millis().to_string(), "1m");
        assert_eq!(q("1Mi").plus(&q("1Mi")).to_string(), "2Mi");
        assert!(!q("0.1").is_whole());
        assert!(q("-1").is_negative());
    }
}
