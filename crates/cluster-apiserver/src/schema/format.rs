//! String formats that a schema may ask for. Unknown formats are not checked, as in Kubernetes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Go's units of time, in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Whether `value` has a format.
pub(crate) fn holds(format: &str, value: &str) -> bool {
    match format {
        "date-time" => value.parse::<jiff::Timestamp>().is_ok(),
        "date" => value.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => value.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => value.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(value).is_some(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::try_parse(value).is_ok(),
        "byte" => base64(value).is_some(),
        "uri" => value.contains(':') && http::Uri::try_from(value).is_ok(),
        "hostname" => is_hostname(value),
        "duration" => duration(value).is_some(),
        "email" => value.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "mac" => is_mac(value),
        _ => true,
    }
}

/// A network as Go's `net.ParseCIDR` reads it: an address of it, and how many bits all of its addresses share.
pub(crate) fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let is_number = bits.bytes().all(|b| b.is_ascii_digit());
    let bits = bits.parse().ok().filter(|bits| is_number && *bits <= most)?;
    Some((ip, bits))
}

/// The bytes of a text in base64.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn is_hostname(value: &str) -> bool {
    let is_label = |label: &str| {
        let is_form = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(is_form)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    value.len() <= 255 && value.trim_end_matches('.').split('.').all(is_label)
}

fn is_mac(value: &str) -> bool {
    let octets: Vec<&str> = value.split([':', '-']).collect();
    octets.len() == 6 && octets.iter().all(|octet| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `1h30m`, `-1.5s`, `0`, in nanoseconds, as Go's `time.ParseDuration` reads it.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(amount(number, unit)?)?;
        rest = after;
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

/// So many units, which may have a fraction.
fn amount(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // What comes after so many digits is less than a nanosecond.
    let digits = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    let parts: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let of = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    whole.checked_mul(unit)?.checked_add(parts.checked_mul(unit)? / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("date-time", "2024-01-01T00:00:00Z", "yesterday"),
            ("date", "2024-02-29", "2023-02-29"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("byte", "aGk=", "?"),
            ("duration", "1h30m", "1x"),
            ("hostname", "a-b.example", "-a"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("uuid", "91d29c4f-d55a-4b26-8ec0-a21c6355f3ab", "91d2"),
        ] {
            assert!(holds(format, good), "{format} {good}");
            assert!(!holds(format, bad), "{format} {bad}");
        }
        assert!(holds("whatever", "x"));
        assert!(!holds("duration", "") && !holds("duration", "é") && !holds("cidr", "10.0.0.0/+8"));
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            (".5ms", Some(500_000)),
            ("2400h0m0.000000001s", Some(8_640_000_000_000_001)),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("+0", Some(0)),
            ("9223372036854775808ns", None),
            ("+-1s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1", None),
            ("-", None),
        ] {
            assert_eq!(duration(text), nanos, "{text}");
        }
    }
}
