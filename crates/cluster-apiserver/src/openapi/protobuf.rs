//! A document of the second version as gnostic's protobuf, which kubectl up to 1.26 asks for.
//!
//! Numbers of fields are those of `openapi.v2` in gnostic's `OpenAPIv2.proto`. What no client reads is left out, such as formats of parameters.

use serde_json::Value;

use crate::value::{bool_at, list_at, str_at, strings_at};

/// Writes a whole document around its paths and definitions.
pub(super) fn document(info: &Value, paths: &[u8], definitions: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(paths.len() + definitions.len() + 64);
    text(&mut out, 1, "2.0");
    let mut about = Vec::new();
    text(&mut about, 1, str_at(info, &["title"]));
    text(&mut about, 2, str_at(info, &["version"]));
    bytes(&mut out, 2, &about);
    bytes(&mut out, 8, paths);
    bytes(&mut out, 9, definitions);
    out
}

/// Appends a definition to those before.
pub(super) fn definition(out: &mut Vec<u8>, name: &str, value: &Value) {
    bytes(out, 1, &named(name, &schema(value)));
}

/// Appends a path to those before.
pub(super) fn path(out: &mut Vec<u8>, name: &str, item: &Value) {
    let mut methods = Vec::new();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            bytes(&mut methods, number, &operation(value));
        }
    }
    bytes(out, 2, &named(name, &methods));
}

fn operation(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for media_type in strings_at(value, &["consumes"]) {
        text(&mut out, 7, media_type);
    }
    for parameter in list_at(value, &["parameters"]) {
        let mut inner = Vec::new();
        if str_at(parameter, &["in"]) == "body" {
            let mut body = Vec::new();
            text(&mut body, 2, "body");
            text(&mut body, 3, "body");
            flag(&mut body, 4, true);
            bytes(&mut body, 5, &schema(&parameter["schema"]));
            bytes(&mut inner, 1, &body);
        } else {
            let (mut query, mut plain) = (Vec::new(), Vec::new());
            text(&mut query, 2, str_at(parameter, &["in"]));
            text(&mut query, 4, str_at(parameter, &["name"]));
            text(&mut query, 6, str_at(parameter, &["type"]));
            bytes(&mut plain, 3, &query);
            bytes(&mut inner, 2, &plain);
        }
        let mut item = Vec::new();
        bytes(&mut item, 1, &inner);
        bytes(&mut out, 8, &item);
    }
    let mut responses = Vec::new();
    for (code, response) in value["responses"].as_object().into_iter().flatten() {
        let (mut one, mut either) = (Vec::new(), Vec::new());
        text(&mut one, 1, str_at(response, &["description"]));
        bytes(&mut either, 1, &one);
        bytes(&mut responses, 1, &named(code, &either));
    }
    bytes(&mut out, 9, &responses);
    extensions(&mut out, 13, value);
    out
}

fn schema(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern")] {
        text(&mut out, number, str_at(value, &[name]));
    }
    for name in strings_at(value, &["required"]) {
        text(&mut out, 19, name);
    }
    for allowed in list_at(value, &["enum"]) {
        bytes(&mut out, 20, &any(allowed));
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(is_allowed)) => {
            let mut item = Vec::new();
            flag(&mut item, 2, *is_allowed);
            bytes(&mut out, 21, &item);
        }
        Some(below) => wrapped(&mut out, 21, &schema(below)),
        None => {}
    }
    let kind = str_at(value, &["type"]);
    if !kind.is_empty() {
        wrapped(&mut out, 22, kind.as_bytes());
    }
    if let Some(items) = value.get("items") {
        wrapped(&mut out, 23, &schema(items));
    }
    let properties = value.get("properties").and_then(Value::as_object);
    let mut fields = Vec::new();
    for (name, property) in properties.into_iter().flatten() {
        bytes(&mut fields, 1, &named(name, &schema(property)));
    }
    if !fields.is_empty() {
        bytes(&mut out, 25, &fields);
    }
    flag(&mut out, 27, bool_at(value, &["readOnly"]) == Some(true));
    extensions(&mut out, 31, value);
    out
}

/// What begins with `x-`, as YAML, which JSON is.
fn extensions(out: &mut Vec<u8>, number: u64, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
        bytes(out, number, &named(name, &any(value)));
    }
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 2, &value.to_string());
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, name);
    bytes(&mut out, 2, value);
    out
}

/// A message that holds one thing, as its first field.
fn wrapped(out: &mut Vec<u8>, number: u64, inner: &[u8]) {
    let mut item = Vec::new();
    bytes(&mut item, 1, inner);
    bytes(out, number, &item);
}

fn text(out: &mut Vec<u8>, number: u64, value: &str) {
    if !value.is_empty() {
        bytes(out, number, value.as_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn flag(out: &mut Vec<u8>, number: u64, value: bool) {
    if value {
        varint(out, number << 3);
        out.push(1);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
