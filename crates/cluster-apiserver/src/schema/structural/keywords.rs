//! Keywords of a schema, one node at a time: what this kind of schema does not have, and what fits the type.

use serde_json::Value;

use super::super::{Expression, Schema, field_path};
use super::{EMBEDDED, additional, branches, has};
use crate::field_error::{FieldError, FieldPath};
use crate::value::{bool_at, entries_at, list_at, str_at, strings_at};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const RULES: &str = "x-kubernetes-validations";

/// Where a node stands, as far as that matters.
#[derive(Clone, Copy)]
pub(super) struct Place {
    is_root: bool,
    /// Whether it describes what every resource has.
    is_inside_meta: bool,
    /// Why there may be no defaults.
    no_defaults: Option<&'static str>,
}

impl Place {
    pub(super) fn root() -> Self {
        Self { is_root: true, is_inside_meta: false, no_defaults: None }
    }

    fn below(self) -> Self {
        Self { is_root: false, ..self }
    }
}

pub(super) fn check(schema: &Value, path: &FieldPath<'_>, place: Place, errors: &mut Vec<FieldError>) {
    check_plain(schema, path, place, errors);
    let extra = path.child("additionalProperties");
    if entries_at(schema, &["properties"]).count() > 0
        && matches!(schema.get("additionalProperties"), Some(Value::Bool(false) | Value::Object(_)))
    {
        errors.push(FieldError::forbidden(&extra, "additionalProperties and properties are mutual exclusive"));
    }
    if let Some(schema) = additional(schema) {
        let why = place.is_inside_meta.then_some("inside additionalProperties applying to object metadata");
        check(schema, &extra, Place { no_defaults: why.or(place.no_defaults), ..place.below() }, errors);
    }
    let properties = path.child("properties");
    for (name, property) in entries_at(schema, &["properties"]) {
        check(property, &properties.key(name), property_place(schema, name, place), errors);
    }
    for name in ["not", "items"] {
        if let Some(schema) = schema.get(name).filter(|schema| schema.is_object()) {
            check(schema, &path.child(name), place.below(), errors);
        }
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        let path = path.child(name);
        for (index, branch) in branches(schema, name).iter().enumerate() {
            check(branch, &path.index(index), place.below(), errors);
        }
    }
    check_kinds(schema, path, errors);
    check_list(schema, path, errors);
    check_rules(schema, path, errors);
}

fn property_place(schema: &Value, name: &str, place: Place) -> Place {
    let is_meta = matches!(name, "metadata" | "kind" | "apiVersion") && (place.is_root || has(schema, EMBEDDED));
    let no_defaults = match name {
        _ if !is_meta || !place.is_root => place.no_defaults,
        "metadata" => Some("in top-level metadata"),
        "kind" => Some("in top-level kind"),
        _ => Some("in top-level apiVersion"),
    };
    Place { is_root: false, is_inside_meta: place.is_inside_meta || is_meta, no_defaults }
}

fn check_plain(schema: &Value, path: &FieldPath<'_>, place: Place, errors: &mut Vec<FieldError>) {
    let kind = str_at(schema, &["type"]);
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES));
    }
    if let Some(why) = place.no_defaults
        && schema.get("default").is_some_and(|default| !default.is_null())
    {
        errors.push(FieldError::forbidden(&path.child("default"), &format!("must not be set {why}")));
    }
    for name in UNSUPPORTED {
        if schema.get(name).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(&path.child(name), &format!("{name} is not supported")));
        }
    }
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), why));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), why));
    }
    if place.is_inside_meta && has(schema, EMBEDDED) {
        errors.push(FieldError::forbidden(&path.child(EMBEDDED), "must not be used inside of resource meta"));
    }
    if has(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), why));
    }
}

/// Extensions that say how an object or a list is owned.
fn check_kinds(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let kind = str_at(schema, &["type"]);
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if bool_at(schema, &[preserve]) == Some(false) {
        errors.push(FieldError::invalid(&path.child(preserve), false, "must be true or undefined"));
    }
    let rows: [(&str, &str, &[&str]); 2] =
        [(MAP_TYPE, "object", &["atomic", "granular"]), (LIST_TYPE, "array", &["atomic", "set", "map"])];
    for (name, wanted, known) in rows {
        let Some(value) = schema.get(name).and_then(Value::as_str) else { continue };
        let (at, why) = (path.child("type"), format!("must be {wanted} if {name} is specified"));
        match kind {
            "" => errors.push(FieldError::required(&at, &why)),
            kind if kind != wanted => errors.push(FieldError::invalid(&at, kind, &why)),
            _ => {}
        }
        if !known.contains(&value) {
            errors.push(FieldError::not_supported(&path.child(name), value, known));
        }
    }
}

fn check_list(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let list_type = schema.get(LIST_TYPE).and_then(Value::as_str);
    let (keys, items) = (strings_at(schema, &[MAP_KEYS]), schema.get("items").filter(|items| items.is_object()));
    let items_path = path.child("items");
    if let (Some("set"), Some(items)) = (list_type, items) {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        for (kind, name, is_default) in [("array", LIST_TYPE, true), ("object", MAP_TYPE, false)] {
            let found = items.get(name).and_then(Value::as_str);
            if str_at(items, &["type"]) == kind && found != Some("atomic") && !(is_default && found.is_none()) {
                errors.push(FieldError::invalid(&items_path.child(name), items.get(name).unwrap_or(&Value::Null), why));
            }
        }
    }
    if !keys.is_empty() && list_type != Some("map") {
        let (at, why) = (path.child(LIST_TYPE), "must be map if x-kubernetes-list-map-keys is non-empty");
        errors.push(
            list_type.map_or_else(|| FieldError::required(&at, why), |found| FieldError::invalid(&at, found, why)),
        );
    }
    if list_type == Some("map") {
        check_map_list(schema, &keys, items, path, errors);
    }
    if let (Some(list_type @ ("set" | "map")), Some(items)) = (list_type, items)
        && has(items, "nullable")
    {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&items_path.child("nullable"), &why));
    }
}

fn check_map_list(
    schema: &Value,
    keys: &[&str],
    items: Option<&Value>,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let (items_path, keys_path) = (path.child("items"), path.child(MAP_KEYS));
    if keys.is_empty() {
        errors.push(FieldError::required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = items else {
        errors.push(FieldError::required(&items_path, "must have a schema if x-kubernetes-list-type is map"));
        return;
    };
    let kind = str_at(items, &["type"]);
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&items_path.child("type"), kind, why));
        return;
    }
    let properties = items_path.child("properties");
    let required = strings_at(items, &["required"]);
    for (index, key) in keys.iter().enumerate() {
        let at = properties.key(key);
        match items.get("properties").and_then(|properties| properties.get(key)) {
            None => {
                let why = "entries must all be names of item properties";
                errors.push(FieldError::invalid(&keys_path, &schema[MAP_KEYS], why));
            }
            Some(property) => {
                if matches!(str_at(property, &["type"]), "array" | "object") {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(FieldError::invalid(&at.child("type"), kind, why));
                }
                if !required.contains(key) && property.get("default").is_none() {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.push(FieldError::required(&at.child("default"), why));
                }
                if has(property, "nullable") {
                    let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.push(FieldError::forbidden(&at.child("nullable"), why));
                }
            }
        }
        if keys.iter().take(index).any(|other| other == key) {
            errors.push(FieldError::invalid(&keys_path, &schema[MAP_KEYS], "must not contain duplicate entries"));
        }
    }
}

/// The form of rules in CEL; what they say is looked at when all else is right.
fn check_rules(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if list_at(schema, &[RULES]).is_empty() {
        return;
    }
    let compiled = super::compiled(schema);
    let path = path.child(RULES);
    for (index, rule) in compiled.expressions.iter().enumerate() {
        check_rule(&compiled, rule, &path.index(index), errors);
    }
}

fn check_rule(schema: &Schema, rule: &Expression, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let has_newlines = |text: &str| text.contains(['\n', '\r']);
    let is_blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let message = path.child("message");
    if rule.rule.trim().is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if is_blank(&rule.message) {
        errors.push(FieldError::invalid(&message, rule.message.as_ref(), "must be non-empty if specified"));
    } else if has_newlines(rule.message.trim()) {
        errors.push(FieldError::invalid(&message, rule.message.as_ref(), "must not contain line breaks"));
    } else if has_newlines(rule.rule.trim()) && rule.message.is_empty() {
        errors.push(FieldError::required(&message, "message must be specified if rule contains line breaks"));
    }
    if is_blank(&rule.message_expression) {
        let why = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), why));
    }
    if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_ref()) {
        errors.push(FieldError::not_supported(&path.child("reason"), rule.reason.as_ref(), &REASONS));
    }
    let (at, place) = (path.child("fieldPath"), rule.field_path.as_ref());
    if is_blank(place) {
        errors.push(FieldError::invalid(&at, place, "must be non-empty if specified"));
    }
    if has_newlines(place) {
        errors.push(FieldError::invalid(&at, place, "must not contain line breaks"));
    }
    if !place.is_empty() && field_path(schema, place).is_err() {
        errors.push(FieldError::invalid(&at, place, "must be a valid path"));
    }
}
