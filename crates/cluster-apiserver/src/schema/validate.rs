//! Validation of a value against a schema, in the words of Kubernetes' OpenAPI validator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::embedded::check_embedded;
use super::expressions::check_expressions;
use super::{Additional, Bound, ListType, Rules, Schema, Type, format};
use crate::field_error::{FieldError, FieldPath, FieldReason, go_json};

/// Collecting ends here: an answer with more is of no use to anybody.
const MAX_ERRORS: usize = 100;

/// The text that stands in an answer when rules in CEL could not be looked at.
const CEL_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// What is wrong with a whole object, given what it was before an update. The answer is what is wrong and let through, because it was so.
pub fn validate(schema: &Schema, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) -> Vec<String> {
    let first = errors.len();
    schema.check_values(object, old, errors);
    schema.check_relations(object, old, first, errors)
}

impl Schema {
    /// Checks each value by itself.
    pub(crate) fn check_values(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        check(self, object, Before { old, parent: None }, &FieldPath::Root, errors);
    }

    /// Checks the values of the status, as a write to the status alone does: what is wrong with one is said in words that begin there.
    pub(crate) fn check_status(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        let (Some(schema), Some(status)) = (self.properties.get("status"), object.get("status")) else { return };
        let mut found = Vec::new();
        let before = Before { old: old.and_then(|old| old.get("status")), parent: None };
        check(schema, status, before, &FieldPath::Root, &mut found);
        let root = FieldPath::Root.to_string();
        errors.extend(found.into_iter().map(|error| {
            let field = if error.field == root { "status".to_owned() } else { format!("status.{}", error.field) };
            FieldError { field, ..error }
        }));
    }

    /// Checks what values mean together: embedded resources, items of lists, rules in CEL. `first` is where errors about this object begin.
    pub(crate) fn check_relations(
        &self,
        object: &Value,
        old: Option<&Value>,
        first: usize,
        errors: &mut Vec<FieldError>,
    ) -> Vec<String> {
        check_embedded(self, object, &FieldPath::Root, errors);
        let had_lists = old.is_none_or(|old| {
            let mut errors = Vec::new();
            check_lists(self, old, &FieldPath::Root, &mut errors);
            errors.is_empty()
        });
        if had_lists {
            check_lists(self, object, &FieldPath::Root, errors);
        }
        let mut warnings = Vec::new();
        if self.has_expressions() && errors.iter().skip(first).any(is_blocking) {
            errors.push(FieldError::invalid(&FieldPath::Root, &Value::Null, CEL_SKIPPED));
        } else if self.has_expressions() {
            check_expressions(self, object, old, errors, &mut warnings);
        }
        warnings
    }
}

/// Whether rules in CEL could stumble over it.
fn is_blocking(error: &FieldError) -> bool {
    use FieldReason::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.reason, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

/// What a value was before an update, as far as that can be told.
#[derive(Clone, Copy)]
pub(super) struct Before<'v> {
    pub(super) old: Option<&'v Value>,
    /// What it stands in, now and then; the nearest of which both are known.
    pub(super) parent: Option<(&'v Value, &'v Value)>,
}

impl<'v> Before<'v> {
    pub(super) fn field(self, name: &str) -> Self {
        Self { old: self.old.and_then(|old| old.get(name)), ..self }
    }

    /// What an item of a list was, if it can be told which.
    pub(super) fn item(self, old: Option<&'v Value>, list: &'v Value) -> Self {
        Self { old, parent: self.old.map(|old| (list, old)).or(self.parent) }
    }

    /// Whether an update leaves the value as it was, or what it stands in.
    pub(super) fn is_unchanged(self, value: &Value) -> bool {
        match (self.old, self.parent) {
            (Some(old), _) => old == value,
            (None, Some((new, old))) => new == old,
            (None, None) => false,
        }
    }
}

/// The items of an old list by their keys; only lists that are maps have any.
pub(super) struct OldItems<'v>(BTreeMap<String, &'v Value>);

impl<'v> OldItems<'v> {
    pub(super) fn of(schema: &Schema, old: Option<&'v Value>) -> Self {
        let mut items = BTreeMap::new();
        if let ListType::Map(_) = schema.list {
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                let key = item_key(schema, item).map(|key| key.to_string());
                items.entry(key.unwrap_or_default()).or_insert(item);
            }
        }
        Self(items)
    }

    /// The item that has the key of a new one.
    pub(super) fn get(&self, schema: &Schema, item: &Value) -> Option<&'v Value> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&item_key(schema, item)?.to_string()).copied()
    }
}

fn check(schema: &Schema, value: &Value, before: Before<'_>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let known = errors.len();
    check_value(schema, value, before, path, errors);
    if errors.len() > known && before.is_unchanged(value) {
        errors.truncate(known);
    }
}

fn check_value(schema: &Schema, value: &Value, before: Before<'_>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if errors.len() >= MAX_ERRORS || (value.is_null() && schema.is_nullable) {
        return;
    }
    // What is of the wrong type is held against the other rules all the same.
    if !has_type(schema, value) {
        errors.push(wrong_type(schema, value, path));
    }
    check_range(schema, value, path, errors);
    if let Some(rules) = &schema.rules {
        check_rules(schema, rules, value, path, errors);
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let (path, before) = (path.child(name), before.field(name));
                match (schema.properties.get(name.as_str()), &schema.additional) {
                    (Some(property), _) => check(property, value, before, &path, errors),
                    (None, Additional::Schema(additional)) => check(additional, value, before, &path, errors),
                    (None, _) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else { return };
            let old_items = OldItems::of(schema, before.old);
            for (index, item) in items.iter().enumerate() {
                let before = before.item(old_items.get(schema, item), value);
                check(item_schema, item, before, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.is_int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.kind {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Integer) => is_integer(value),
        Some(Type::Number) => value.is_number(),
        Some(Type::Boolean) => value.is_boolean(),
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(schema: &Schema, value: &Value, path: &FieldPath<'_>) -> FieldError {
    let (wanted, found) = match (schema.kind, numeric_format(schema)) {
        _ if schema.is_int_or_string => ("integer,string", type_name(value)),
        (_, Some(format)) if value.is_number() => (format, "float64"),
        (_, Some(format)) if value.is_boolean() || value.is_object() => (format, ""),
        (kind, _) => (kind.map(Type::name).unwrap_or_default(), type_name(value)),
    };
    FieldError::type_invalid(path, found, &format!("{} must be of type {wanted}: \"{found}\"", in_body(path)))
}

/// `spec.n in body`, as the validator names places.
fn in_body(path: &FieldPath<'_>) -> String {
    format!("{} in body", name_of(path))
}

/// The format of a schema's numbers, if it is one that numbers have.
fn numeric_format(schema: &Schema) -> Option<&str> {
    let format = schema.rules.as_ref()?.format.as_deref()?;
    let is_known = match schema.kind {
        Some(Type::Integer) => matches!(format, "int32" | "int64"),
        Some(Type::Number) => matches!(format, "float" | "double"),
        _ => false,
    };
    is_known.then_some(format)
}

/// Whether a number can be one of its type and format.
fn check_range(schema: &Schema, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let (Some(kind), Value::Number(number)) = (schema.kind.filter(|_| !schema.is_int_or_string), value) else { return };
    let number = number.as_f64().unwrap_or_default();
    let format = numeric_format(schema);
    let fits = match (kind, format) {
        (Type::Integer, Some("int32")) => {
            is_integer(value) && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
        }
        (Type::Integer, _) => value.is_i64() || (is_integer(value) && number.abs() < TWO_TO_63),
        (Type::Number, Some("float")) => number.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return;
    }
    let format = format.map_or_else(|| "(default format)".to_owned(), |format| format!("with format {format}"));
    let text = format!("Checked value must be of type {} {format} in {}", kind.name(), name_of(path));
    errors.push(FieldError::invalid(&FieldPath::Root, "", &text));
}

/// The first number that is too large for 64 bits and a sign.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// A place as texts of the validator name it that know no object.
fn name_of(path: &FieldPath<'_>) -> String {
    match path {
        FieldPath::Root => String::new(),
        _ => path.to_string(),
    }
}

fn check_rules(schema: &Schema, rules: &Rules, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let mut wrong_as = |shown: &Value, detail: String| {
        errors.push(FieldError::invalid(path, shown, &format!("{} {detail}", in_body(path))));
    };
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some(bound) = rules.maximum.as_ref().filter(|bound| exceeds(number, bound)) {
                let relation = if bound.is_exclusive { "less than" } else { "less than or equal to" };
                wrong_as(value, format!("should be {relation} {}", bound.value));
            }
            if let Some(bound) = rules.minimum.as_ref().filter(|bound| falls_below(number, bound)) {
                let relation = if bound.is_exclusive { "greater than" } else { "greater than or equal to" };
                wrong_as(value, format!("should be {relation} {}", bound.value));
            }
            if let Some(step) = rules.multiple_of.filter(|step| *step != 0.0 && (number / step).fract() != 0.0) {
                wrong_as(value, format!("should be a multiple of {step}"));
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(least) = rules.min_length.filter(|least| length < *least) {
                wrong_as(value, format!("should be at least {least} chars long"));
            }
            if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
                wrong_as(value, format!("should match '{}'", pattern.text));
            }
            if let Some(most) = rules.max_length.filter(|most| length > *most) {
                errors.push(FieldError::too_long(path, usize::try_from(most).unwrap_or(usize::MAX)));
            }
            if let Some(name) = rules.format.as_deref().filter(|name| !format::holds(name, text)) {
                let detail = format!("{} must be of type {name}: {}", in_body(path), crate::field_error::quote(text));
                errors.push(FieldError::type_invalid(path, value, &detail));
            }
        }
        Value::Array(items) => {
            let length = items.len() as u64;
            if let Some(least) = rules.min_items.filter(|least| length < *least) {
                wrong_as(&Value::from(length), format!("should have at least {least} items"));
            }
            if rules.has_unique_items && has_duplicates(items) {
                wrong_as(value, "shouldn't contain duplicates".to_owned());
            }
            if let Some(most) = rules.max_items.filter(|most| length > *most) {
                errors.push(FieldError::too_many(path, items.len(), usize::try_from(most).unwrap_or(usize::MAX)));
            }
        }
        Value::Object(fields) => {
            let length = fields.len() as u64;
            if let Some(least) = rules.min_properties.filter(|least| length < *least) {
                wrong_as(value, format!("should have at least {least} properties"));
            }
            if let Some(most) = rules.max_properties.filter(|most| length > *most) {
                errors.push(FieldError::too_many(path, fields.len(), usize::try_from(most).unwrap_or(usize::MAX)));
            }
            for name in rules.required.iter().filter(|name| !fields.contains_key(name.as_ref())) {
                errors.push(FieldError::required(&path.child(name), ""));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if !rules.allowed.is_empty() && !rules.allowed.contains(value) {
        errors.push(not_allowed(rules, value, path));
    }
    if !value.is_null() {
        check_branches(schema, rules, value, path, errors);
    }
}

fn exceeds(number: f64, bound: &Bound) -> bool {
    let limit = bound.value.as_f64().unwrap_or(f64::MAX);
    number > limit || (bound.is_exclusive && number >= limit)
}

fn falls_below(number: f64, bound: &Bound) -> bool {
    let limit = bound.value.as_f64().unwrap_or(f64::MIN);
    number < limit || (bound.is_exclusive && number <= limit)
}

fn has_duplicates(items: &[Value]) -> bool {
    let mut seen = BTreeSet::new();
    !items.iter().all(|item| seen.insert(item.to_string()))
}

fn not_allowed(rules: &Rules, value: &Value, path: &FieldPath<'_>) -> FieldError {
    let shown = |value: &Value| value.as_str().map_or_else(|| go_json(value), str::to_owned);
    let allowed: Vec<String> = rules.allowed.iter().map(shown).collect();
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    FieldError::not_supported(path, value, &allowed)
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn check_branches(schema: &Schema, rules: &Rules, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    // What an alternative says of a value is said of the same value: types were checked above.
    let errors_of = |branch: &Schema| {
        let mut errors = Vec::new();
        check(branch, value, Before { old: None, parent: None }, path, &mut errors);
        errors
    };
    let name = name_of(path);
    let mut wrong = |detail: String| {
        let message = format!("Invalid value: \"\": \"{name}\" {detail}");
        errors.push(FieldError { reason: FieldReason::Invalid, field: path.to_string(), message });
    };
    if !rules.any_of.is_empty() && !schema.is_int_or_string && rules.any_of.iter().all(|b| !errors_of(b).is_empty()) {
        wrong("must validate at least one schema (anyOf)".to_owned());
    }
    let valid = rules.one_of.iter().filter(|branch| errors_of(branch).is_empty()).count();
    if !rules.one_of.is_empty() && valid != 1 {
        let found =
            if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
        wrong(format!("must validate one and only one schema (oneOf). {found}"));
    }
    if rules.not.as_ref().is_some_and(|branch| errors_of(branch).is_empty()) {
        wrong("must not validate the schema (not)".to_owned());
    }
    let failed: Vec<FieldError> = rules.all_of.iter().flat_map(errors_of).collect();
    if !failed.is_empty() {
        wrong("must validate all the schemas (allOf)".to_owned());
        errors.extend(failed);
    }
}

/// Lists that are sets or maps: no item twice.
fn check_lists(schema: &Schema, value: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if errors.len() >= MAX_ERRORS {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.properties.get(name.as_str()).or(schema.additional()) {
                    check_lists(schema, value, &path.child(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let Some(key) = item_key(schema, item) else { continue };
                if !seen.insert(key.to_string()) {
                    errors.push(FieldError::duplicate(&path.index(index), &key));
                }
            }
            let Some(schema) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                check_lists(schema, item, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

/// What identifies an item in its list; `None` in lists where items need no identity.
fn item_key(schema: &Schema, item: &Value) -> Option<Value> {
    match &schema.list {
        ListType::Atomic => None,
        ListType::Set => Some(item.clone()),
        ListType::Map(keys) => {
            let key = |name: &str| item.get(name).map(|value| (name.to_owned(), value.clone()));
            Some(Value::Object(keys.iter().filter_map(|name| key(name)).collect()))
        }
    }
}

#[cfg(test)]
mod tests;
