//! Amounts of resources, as numbers that can be added: `500m`, `1.5`, `64Mi`, `1e3`.
//!
//! The grammar is that of `k8s.io/apimachinery/pkg/api/resource`. Amounts are kept in thousandths, rounded up, in 128 bits.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Digits of a number that are read; more is no amount of anything.
const MAX_DIGITS: usize = 30;

/// An amount of a resource, in thousandths of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Milli(pub(crate) i128);

impl Milli {
    /// `count` whole units.
    pub(crate) const fn units(count: i128) -> Self {
        Self(count * 1000)
    }

    /// The amount that `quantity` says; none if it does not parse.
    pub(crate) fn parse(quantity: &Quantity) -> Option<Self> {
        parse(quantity.0.trim())
    }

    /// The sum, saturating.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// A sum of quantities of this form, as Kubernetes writes it: rounded up to whole units, with the largest suffix that keeps it whole.
    pub(crate) fn text(self, is_binary: bool) -> String {
        let (mut number, mut suffix) = (self.0 / 1000 + i128::from(self.0 % 1000 > 0), "");
        let (base, suffixes) = match is_binary && number >= 1024 {
            true => (1024, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
            false => (1000, ["k", "M", "G", "T", "P", "E"]),
        };
        for larger in suffixes {
            if number == 0 || number % base != 0 {
                break;
            }
            (number, suffix) = (number / base, larger);
        }
        format!("{number}{suffix}")
    }

    /// The amount in decimal form, in thousandths where it has some.
    pub(crate) fn exact_text(self) -> String {
        if self.0 % 1000 == 0 { self.text(false) } else { format!("{}m", self.0) }
    }

    /// The difference, saturating.
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

fn parse(text: &str) -> Option<Milli> {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_empty = whole.is_empty() && fraction.is_empty();
    if is_empty || fraction.contains('.') || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (multiplier, exponent) = scale(suffix)?;
    // In thousandths: digits · multiplier · 10^(exponent + 3 - fraction).
    let exponent = exponent.checked_add(3)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let milli = shift(digits.checked_mul(multiplier)?, exponent)?;
    Some(Milli(if is_negative { -milli } else { milli }))
}

/// What a suffix multiplies with: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => Some((1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?)),
    }
}

/// `number · 10^exponent`, rounded up.
fn shift(number: i128, exponent: i32) -> Option<i128> {
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 { number.checked_mul(power) } else { Some(number / power + i128::from(number % power != 0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_with_the_largest_suffix() {
        let rows = [
            (0, true, "0"),
            (1000, true, "1k"),
            (1024, true, "1Ki"),
            (1536 << 10, true, "1536Ki"),
            (3 << 30, true, "3Gi"),
            (1024, false, "1024"),
            (1_500_000, false, "1500k"),
            (2_000_000_000, false, "2G"),
        ];
        for (units, is_binary, expected) in rows {
            assert_eq!(Milli::units(units).text(is_binary), expected);
        }
        assert_eq!([Milli(250), Milli(2000), Milli(12_000_500)].map(Milli::exact_text), ["250m", "2", "12000500m"]);
    }

    #[test]
    fn quantities_are_numbers() {
        let rows = [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("1.5", Some(1500)),
            (".5", Some(500)),
            ("100n", Some(1)),
            ("64Mi", Some(64 * 1024 * 1024 * 1000)),
            ("1k", Some(1_000_000)),
            ("1e3", Some(1_000_000)),
            ("2E", Some(2_000_000_000_000_000_000_000)),
            ("-1", Some(-1000)),
            ("0.0001", Some(1)),
            ("", None),
            ("m", None),
            ("1.2.3", None),
            ("1Xi", None),
            ("9e99999999", None),
            ("99999999999999999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Milli::parse(&Quantity(text.into())), expected.map(Milli), "{text:?}");
        }
    }
}
