//! Checks that many kinds share: required, enumerated, in range, unchanged.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::metadata::IMMUTABLE,
    names,
    value::{i64_at, semantic_eq, str_at},
};

/// What is wrong with an object, in the order in which it is found.
pub(super) type Errors = Vec<FieldError>;

/// Notes each text about `value`.
pub(super) fn texts(path: &FieldPath<'_>, value: &str, wrong: impl IntoIterator<Item = String>, errors: &mut Errors) {
    for text in wrong {
        errors.push(FieldError::invalid(path, value, &text));
    }
}

/// The string `name` of `object`, which must not be empty.
pub(super) fn required<'a>(object: &'a Value, name: &'a str, path: &FieldPath<'_>, errors: &mut Errors) -> &'a str {
    let value = str_at(object, &[name]);
    if value.is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    }
    value
}

/// The string `name` of `object` must be one of `supported`; empty is a required value that is missing.
pub(super) fn one_of(object: &Value, name: &str, supported: &[&str], path: &FieldPath<'_>, errors: &mut Errors) {
    let value = str_at(object, &[name]);
    if value.is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    } else {
        supported_value(value, supported, &path.child(name), errors);
    }
}

/// `value` must be one of `supported`.
pub(super) fn supported_value(value: &str, supported: &[&str], path: &FieldPath<'_>, errors: &mut Errors) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// The integer `name` of `object`, if set, must not be negative.
pub(super) fn non_negative(object: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(number) = i64_at(object, &[name]).filter(|number| *number < 0) {
        errors.push(FieldError::invalid(&path.child(name), number, names::NEGATIVE));
    }
}

/// The integer `name` of `object`, if set, must be above zero.
pub(super) fn positive(object: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(number) = i64_at(object, &[name]).filter(|number| *number <= 0) {
        errors.push(FieldError::invalid(&path.child(name), number, "must be greater than 0"));
    }
}

/// A port's number.
pub(super) fn port(number: i64, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(text) = names::port_number(number) {
        errors.push(FieldError::invalid(path, number, &text));
    }
}

/// Refuses another value of a field whose rule is declared, which the server answers without the value.
pub(super) fn fixed(new: &Value, old: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if !semantic_eq(&new[name], &old[name]) {
        errors.push(FieldError::invalid(&path.child(name), &Value::Null, IMMUTABLE));
    }
}

/// The field `name` must be what it was.
pub(super) fn immutable(new: &Value, old: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if !semantic_eq(&new[name], &old[name]) {
        errors.push(FieldError::invalid(&path.child(name), &new[name], IMMUTABLE));
    }
}
