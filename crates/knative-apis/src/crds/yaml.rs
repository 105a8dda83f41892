//! Writes JSON as YAML: block style, keys in order, texts quoted as in JSON. Just what the
//! definitions need, and always the same bytes.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One document.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::from("# Generated from the types of knative-apis by `cargo xtask crds`. Do not edit.\n");
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) => {
            // In order whatever order the map keeps.
            for (name, field) in fields.iter().collect::<BTreeMap<_, _>>() {
                pad(indent, out);
                entry(&format!("{}:", key(name)), field, indent + 2, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(indent, out);
                sequence_item(item, indent, out);
            }
        }
        scalar => {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{scalar}");
        }
    }
}

/// A key or dash with what belongs to it: on the same line if it is small.
fn entry(head: &str, value: &Value, indent: usize, out: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        let _ = writeln!(out, "{head}");
        block(value, indent, out);
    } else {
        let _ = writeln!(out, "{head} {value}");
    }
}

/// The first field of an object stands beside the dash.
fn sequence_item(item: &Value, indent: usize, out: &mut String) {
    let mut nested = String::new();
    match item {
        Value::Object(fields) if !fields.is_empty() => block(item, indent + 2, &mut nested),
        _ => return entry("-", item, indent + 2, out),
    }
    let _ = write!(out, "- {}", nested.trim_start());
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A key, quoted unless it is a plain word that YAML reads as a string.
fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain);
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if is_word && !reserved.contains(&name.to_ascii_lowercase().as_str()) {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}
