//! Values as Go prints them: clients see these texts in messages and match on them.

use std::fmt::Write;

/// A string in double quotes, as Go's `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out.push('"');
    out
}

/// A string in double quotes, as the errors of Go's `time` package show it: all but printable
/// ASCII as bytes.
pub fn quote_bytes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='\u{7f}' => out.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let escape = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        c if c.is_ascii_control() => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{:02x}", u32::from(c));
            return;
        }
        c if c.is_control() => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
            return;
        }
        c => return out.push(c),
    };
    out.push_str(escape);
}

/// A list of strings, as Go's `%v` of a slice: `[a b]`.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// A number, as Go's `%v` or `%g` of a float64: shortest, with an exponent when it is far from 1.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quote("a"), "\"a\"");
        assert_eq!(quote("a\"b\\c\n\u{1}'é"), "\"a\\\"b\\\\c\\n\\x01'é\"");
    }

    #[test]
    fn quotes_as_gos_time_package_does() {
        assert_eq!(quote_bytes("a\"b\\c\nd\u{7f}é"), "\"a\\\"b\\\\c\\x0ad\u{7f}\\xc3\\xa9\"");
    }

    #[test]
    fn floats_as_go_prints_them() {
        for (value, text) in [
            (0.01, "0.01"),
            (1.0, "1"),
            (110.0, "110"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (999_999.5, "999999.5"),
            (1_234_567.0, "1.234567e+06"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn lists_as_go_prints_them() {
        assert_eq!(list(&["a".to_owned(), "b c".to_owned()]), "[a b c]");
    }
}
