//! YAML answers, laid out as Go's YAML library does: two spaces, sorted keys, lists not indented, strings quoted where they would read as something else.

use serde_json::Value;

/// A value as a YAML document.
pub(crate) fn to_text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(fields, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => write_items(items, 0, &mut out),
        other => {
            write_scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// `is_inline`: the first field stands on a line that has begun already.
fn write_fields(fields: &serde_json::Map<String, Value>, depth: usize, is_inline: bool, out: &mut String) {
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 || !is_inline {
            indent(depth, out);
        }
        write_text(name, depth, true, out);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                write_fields(inner, depth + 1, false, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_items(items, depth, out);
            }
            other => {
                out.push(' ');
                write_scalar(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

fn write_items(items: &[Value], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(fields, depth + 1, true, out),
            Value::Array(inner) if !inner.is_empty() => {
                out.truncate(out.len() - 1);
                out.push('\n');
                write_items(inner, depth + 1, out);
            }
            other => {
                write_scalar(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, depth, false, out),
        // Empty lists and objects, numbers, booleans and null read the same in JSON.
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, depth: usize, is_key: bool, out: &mut String) {
    if !is_key && is_block(text) {
        let chomp = if text.ends_with("\n\n") {
            "+"
        } else if text.ends_with('\n') {
            ""
        } else {
            "-"
        };
        out.push('|');
        out.push_str(chomp);
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            out.push('\n');
            if !line.is_empty() {
                indent(depth, out);
                out.push_str(line);
            }
        }
        return;
    }
    if is_plain(text) {
        out.push_str(text);
    } else if text.contains('\'') || text.chars().any(char::is_control) || reads_as_other(text) {
        // JSON's strings are YAML's double-quoted ones, but for characters that YAML wants escaped.
        for c in Value::from(text).to_string().chars() {
            if c.is_control() {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
    } else {
        out.push('\'');
        out.push_str(text);
        out.push('\'');
    }
}

/// Whether a text of several lines can stand as a block.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    const FIRST: &str = "-?:,[]{}#&*!|>'\"%@`=";
    let starts_well = text.chars().next().is_some_and(|c| !FIRST.contains(c) || is_harmless_dash(text));
    starts_well
        && !reads_as_other(text)
        && !text.starts_with(' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.chars().any(char::is_control)
}

fn is_harmless_dash(text: &str) -> bool {
    text.strip_prefix(['-', '?', ':']).is_some_and(|rest| rest.chars().next().is_some_and(|c| c.is_alphanumeric()))
}

/// Whether a reader would take it for a number, a boolean, a time or nothing.
fn reads_as_other(text: &str) -> bool {
    const WORDS: [&str; 14] =
        ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", ".inf", ".nan"];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) || lower.trim_start_matches(['+', '-']) == ".inf" {
        return true;
    }
    let starts_numeric = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_numeric {
        return false;
    }
    let digits = lower.replace('_', "");
    let unsigned = digits.trim_start_matches(['+', '-']);
    let has_radix = unsigned.starts_with("0x") || unsigned.starts_with("0b") || unsigned.starts_with("0o");
    let is_sexagesimal = unsigned.contains(':') && unsigned.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    let is_time = text.get(4..5) == Some("-")
        && text.get(7..8) == Some("-")
        && text.get(..4).is_some_and(|y| y.bytes().all(|b| b.is_ascii_digit()));
    digits.parse::<f64>().is_ok() || has_radix || is_sexagesimal || is_time
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn laid_out_as_go_does() {
        let value = json!({
            "apiVersion": "v1", "data": {"a": "b", "n": "1", "t": "true", "empty": "", "lines": "x\ny\n", "q": "it's: odd", "c": "a: b"},
            "metadata": {"creationTimestamp": "2026-11-23T01:19:49Z", "managedFields": [{"apiVersion": "v1", "fieldsV1": {"f:data": {".": {}}}}]},
            "list": ["a", {"b": 1, "c": [1, 2]}, []], "zero": null,
        });
        let wanted = "\
apiVersion: v1
data:
  a: b
  c: 'a: b'
  empty: \"\"
  lines: |
    x
    y
  \"n\": \"1\"
  q: \"it's: odd\"
  t: \"true\"
list:
- a
- b: 1
  c:
  - 1
  - 2
- []
metadata:
  creationTimestamp: \"2026-11-23T01:19:49Z\"
  managedFields:
  - apiVersion: v1
    fieldsV1:
      f:data:
        .: {}
zero: null
";
        assert_eq!(to_text(&value), wanted);
    }

    #[test]
    fn whatever_is_written_reads_back_the_same() {
        let odd = [
            "",
            " ",
            "a",
            "-",
            "- a",
            "-a",
            "#",
            "a #b",
            "a: b",
            "a:",
            ":",
            "?",
            "? a",
            "1",
            "1.5",
            "1e3",
            "0x1f",
            "1_000",
            "12:30:45",
            "~",
            "yes",
            "No",
            "null",
            "2024-01-01",
            "|",
            ">",
            "'",
            "\"",
            "'a'",
            "%a",
            "@a",
            "`",
            "[a]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "a\nb",
            "a\n",
            "a\n\n",
            "\na",
            " a\nb",
            "a \nb",
            "\t",
            "a\tb",
            "é",
            "\u{7f}",
            "=",
            "<<",
            ".",
            ".5",
            "+1",
            "-.inf",
            "a\\b",
            "a\r\nb",
            "---",
            "...",
            "a, b",
        ];
        for text in odd {
            let value = json!({"k": {"v": text, text: [text, {"w": text}]}});
            let written = to_text(&value);
            let read: Value =
                serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{text:?}: {error}\n{written}"));
            assert_eq!(read, value, "{text:?}\n{written}");
        }
    }
}
