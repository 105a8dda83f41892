//! String formats that a schema may ask for. Unknown formats are not checked, as in Kubernetes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether `value` has a format.
pub(crate) fn holds(format: &str, value: &str) -> bool {
    match format {
        "date-time" => value.parse::<jiff::Timestamp>().is_ok(),
        "date" => value.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => value.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => value.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(value),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::try_parse(value).is_ok(),
        "byte" => is_base64(value),
        "uri" => value.contains(':') && http::Uri::try_from(value).is_ok(),
        "hostname" => is_hostname(value),
        "duration" => is_go_duration(value),
        "email" => value.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "mac" => is_mac(value),
        _ => true,
    }
}

fn is_cidr(value: &str) -> bool {
    let Some((address, bits)) = value.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && bits <= 32) || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn is_base64(value: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(value).is_ok()
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

/// `1h30m`, `-1.5s`, `0`, as Go's `time.ParseDuration`.
fn is_go_duration(value: &str) -> bool {
    let mut rest = value.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if !digits.bytes().any(|b| b.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return false;
        }
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if !matches!(unit, "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h") {
            return false;
        }
        rest = after;
    }
    !value.is_empty()
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
        assert!(!holds("duration", "") && !holds("duration", "é"));
    }
}
