//! Amounts of CPU, memory and storage as Kubernetes writes them: `500m`, `1.5Gi`, `1e3`.
//!
//! An amount is kept as nano-units in 128 bits, which holds everything Kubernetes allows (up to
//! 2^63-1 units, no finer than nano, finer ones rounded up). The canonical form is Kubernetes':
//! what Go clients and webhooks turn every quantity into.

use std::fmt;

const NANO: i128 = 1_000_000_000;
const MAX_UNITS: i128 = i64::MAX as i128;
/// Longer texts are refused: the largest canonical one has 20 characters.
const MAX_TEXT: usize = 64;

const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// An amount.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

/// A text is no quantity. The message is Kubernetes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Quantity {
    /// An amount in thousandths, written in decimal form.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * 1_000_000, form: Form::Decimal }
    }

    /// An amount of bytes, written in binary form.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, form: Form::Binary }
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// Kubernetes' message for a text that is none.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.len() > MAX_TEXT {
            return Err(QuantityError);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (form, scale) = read_suffix(suffix)?;
        let nanos = scaled(whole, fraction, scale).min(MAX_UNITS * NANO);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, form })
    }

    /// The amount in whole units, rounded up.
    pub fn value(&self) -> i64 {
        saturate(div_away(self.nanos, NANO))
    }

    /// The amount in thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        saturate(div_away(self.nanos, NANO / 1_000))
    }

    /// Whether there is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// A share of the amount, in the same form, rounded down to nano-units.
    pub fn scaled(&self, factor: f64) -> Self {
        // A product outside of i128 saturates, which the cap below brings back into range.
        let nanos = (self.nanos as f64 * factor) as i128;
        Self { nanos: nanos.clamp(-MAX_UNITS * NANO, MAX_UNITS * NANO), form: self.form }
    }
}

enum Scale {
    Binary(u32),
    Decimal(i32),
}

fn read_suffix(suffix: &str) -> Result<(Form, Scale), QuantityError> {
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Form::Binary, Scale::Binary(*shift)));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Form::Decimal, Scale::Decimal(*exponent)));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Err(QuantityError);
    }
    let exponent: i32 = digits.parse().map_err(|_| QuantityError)?;
    Ok((Form::Exponent, Scale::Decimal(exponent)))
}

/// `whole.fraction` times the scale in nano-units, rounded up, saturating.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let digits = whole.len() + fraction.len();
    let number = whole
        .bytes()
        .chain(fraction.bytes())
        .try_fold(0_i128, |number: i128, digit| number.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
    let Some(number) = number.filter(|_| digits <= MAX_TEXT) else { return i128::MAX };
    if number == 0 {
        return 0;
    }
    let fraction_digits = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    match scale {
        Scale::Decimal(exponent) => times_ten_to(number, exponent.saturating_add(9).saturating_sub(fraction_digits)),
        Scale::Binary(shift) => {
            let shifted = number.checked_mul(1_i128 << shift).unwrap_or(i128::MAX);
            times_ten_to(shifted, 9_i32.saturating_sub(fraction_digits))
        }
    }
}

fn times_ten_to(number: i128, exponent: i32) -> i128 {
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    match (exponent >= 0, power) {
        (true, Some(power)) => number.checked_mul(power).unwrap_or(i128::MAX),
        (true, None) => i128::MAX,
        (false, Some(power)) => div_away(number, power),
        (false, None) => 1,
    }
}

/// Divides and rounds away from zero, as Kubernetes rounds what it cannot hold.
fn div_away(number: i128, divisor: i128) -> i128 {
    let quotient = number / divisor;
    if number % divisor == 0 { quotient } else { quotient + number.signum() }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.unsigned_abs() < 1024 * NANO.unsigned_abs();
        if self.form == Form::Binary && !small {
            return write_binary(f, div_away(self.nanos, NANO));
        }
        let mut number = self.nanos;
        let mut exponent = -9;
        while number % 1_000 == 0 && exponent < 18 {
            number /= 1_000;
            exponent += 3;
        }
        if self.form == Form::Exponent {
            return if exponent == 0 { write!(f, "{number}") } else { write!(f, "{number}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| *name);
        write!(f, "{number}{suffix}")
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, units: i128) -> fmt::Result {
    let suffix = BINARY.iter().rev().find(|(_, shift)| units % (1_i128 << shift) == 0);
    match suffix {
        Some((name, shift)) => write!(f, "{}{name}", units >> shift),
        None => write!(f, "{units}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms_are_kubernetes() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            ("12e2", "1200"),
            ("0.1m", "100u"),
            ("0.1n", "1n"),
            ("-100m", "-100m"),
            ("+5", "5"),
            ("128974848", "128974848"),
            ("1Ei", "1Ei"),
            ("0.5Ki", "512"),
            ("1023", "1023"),
            ("9999999999999999999", "9223372036854775807"),
            (".5", "500m"),
            ("5.", "5"),
        ] {
            assert_eq!(Quantity::parse(text).expect(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn values_are_rounded_up() {
        assert_eq!(Quantity::parse("100m").expect("q").value(), 1);
        assert_eq!(Quantity::parse("1500m").expect("q").milli_value(), 1500);
        assert_eq!(Quantity::parse("1Mi").expect("q").value(), 1_048_576);
        assert!(Quantity::parse("-1").expect("q").value() < 0);
        assert_eq!(Quantity::parse("1").expect("q"), Quantity::parse("1000m").expect("q"));
        assert_eq!(Quantity::parse("200Mi").expect("q").scaled(0.5).to_string(), "100Mi");
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1x", "e3", "1e", "1e+", "1ki", "1 Gi", "Gi", "--1"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_the_same_amount(number in -1_000_000_000_i64..1_000_000_000, suffix in "(n|u|m|k|M|G|Ki|Mi|Gi|e3)?") {
            let quantity = Quantity::parse(&format!("{number}{suffix}")).expect("a quantity");
            let again = Quantity::parse(&quantity.to_string()).expect("a quantity");
            proptest::prop_assert_eq!(again, quantity);
            proptest::prop_assert_eq!(again.to_string(), quantity.to_string());
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,80}") {
            let _ = Quantity::parse(&text);
        }
    }
}
