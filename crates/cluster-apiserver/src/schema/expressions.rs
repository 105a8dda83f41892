//! Rules in CEL (`x-kubernetes-validations`): what they say of an object, and of what it was before.

use std::sync::OnceLock;

use serde_json::Value;

use super::validate::{Before, OldItems};
use super::{Schema, Type};
use crate::cel::{self, CompileError, Fault, Outcome, Program, Scope, Wanted};
use crate::field_error::{FieldError, FieldPath, FieldReason};
use crate::value::{bool_at, list_at, str_at};

/// A message that a rule makes may have so many bytes.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
const NO_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// A rule as it was written, and compiled once an object has met it.
#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) rule: Box<str>,
    pub(crate) message: Box<str>,
    pub(crate) message_expression: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) field_path: Box<str>,
    pub(crate) optional_old_self: Option<bool>,
    compiled: OnceLock<Compiled>,
}

/// What came of compiling.
#[derive(Debug)]
struct Compiled {
    rule: Result<Program, String>,
    message: Option<Program>,
}

impl Expression {
    pub(super) fn parse_all(schema: &Value) -> Box<[Self]> {
        let text = |rule: &Value, name: &str| str_at(rule, &[name]).into();
        let one = |rule: &Value| Self {
            rule: text(rule, "rule"),
            message: text(rule, "message"),
            message_expression: text(rule, "messageExpression"),
            reason: text(rule, "reason"),
            field_path: text(rule, "fieldPath"),
            optional_old_self: bool_at(rule, &["optionalOldSelf"]),
            compiled: OnceLock::new(),
        };
        list_at(schema, &["x-kubernetes-validations"]).iter().map(one).collect()
    }

    pub(crate) fn scope<'s>(&self, schema: &'s Schema, is_resource: bool) -> Scope<'s> {
        Scope { schema, is_resource, has_optional_old: self.optional_old_self == Some(true) }
    }

    fn compiled(&self, scope: Scope<'_>) -> &Compiled {
        let why = |error| match error {
            CompileError::Syntax(text) => format!("compilation failed: {text}"),
            CompileError::Type(_) => "cel expression must evaluate to a bool".to_owned(),
            CompileError::NoType => "failed to convert to declType for CEL validation rules".to_owned(),
        };
        self.compiled.get_or_init(|| Compiled {
            rule: Program::compile(&self.rule, scope, Wanted::Truth).map_err(why),
            message: Some(&self.message_expression)
                .filter(|text| !text.is_empty())
                .and_then(|text| Program::compile(text, scope, Wanted::Text).ok()),
        })
    }

    /// The rule as an error names it.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }
}

/// What rules say of a whole object. What is wrong with something that an update leaves as it was goes to `warnings`.
pub(super) fn check_expressions(
    schema: &Schema,
    object: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
    warnings: &mut Vec<String>,
) {
    let mut walk = Walk { left: cel::OBJECT_LIMIT, is_over: false, errors, warnings };
    let before = Before { old, parent: None };
    walk.node(schema, true, object, before, &FieldPath::Root);
}

/// What a rule speaks of.
#[derive(Clone, Copy)]
struct Place<'p> {
    scope: Scope<'p>,
    /// The type of the value, as errors show it where the value is of no matter.
    kind: &'static str,
    value: &'p Value,
    before: Before<'p>,
    path: &'p FieldPath<'p>,
}

struct Walk<'w> {
    left: u64,
    is_over: bool,
    errors: &'w mut Vec<FieldError>,
    warnings: &'w mut Vec<String>,
}

impl Walk<'_> {
    /// The rules of a schema about a value, and of what is below.
    fn node(&mut self, schema: &Schema, is_resource: bool, value: &Value, before: Before<'_>, path: &FieldPath<'_>) {
        if !schema.has_expressions || value.is_null() || self.is_over {
            return;
        }
        let kind = schema.kind.map(Type::name).unwrap_or_default();
        for expression in &schema.expressions {
            let place = Place { scope: expression.scope(schema, is_resource), kind, value, before, path };
            self.rule(expression, place);
            if self.is_over {
                return;
            }
        }
        self.children(schema, value, before, path);
    }

    fn below(&mut self, schema: &Schema, value: &Value, before: Before<'_>, path: &FieldPath<'_>) {
        self.node(schema, schema.is_embedded_resource, value, before, path);
    }

    fn children(&mut self, schema: &Schema, value: &Value, before: Before<'_>, path: &FieldPath<'_>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let before = before.field(name);
                    if let Some(schema) = schema.properties.get(name.as_str()) {
                        self.below(schema, value, before, &path.child(name));
                    } else if let Some(schema) = schema.additional() {
                        self.below(schema, value, before, &path.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let Some(item_schema) = &schema.items else { return };
                let old_items = OldItems::of(schema, before.old);
                for (index, item) in items.iter().enumerate() {
                    let before = before.item(old_items.get(schema, item), value);
                    self.below(item_schema, item, before, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, expression: &Expression, place: Place<'_>) {
        let Place { scope, kind, value, before, path } = place;
        if self.left == 0 {
            self.is_over = true;
            self.errors.push(FieldError::invalid(path, kind, NO_BUDGET));
            return;
        }
        let compiled = expression.compiled(scope);
        let program = match &compiled.rule {
            Ok(program) => program,
            Err(error) => {
                self.errors.push(FieldError::invalid(path, kind, &format!("rule compile error: {error}")));
                return;
            }
        };
        if program.uses_old && before.old.is_none() && !scope.has_optional_old {
            return;
        }
        let shown = expression.shown();
        match program.evaluate(scope, value, before.old, &mut self.left) {
            Ok(Outcome::Truth(true)) => {}
            Ok(_) => self.failed(expression, compiled, place),
            Err(Fault::Cost) => {
                self.is_over = true;
                let why = if self.left == 0 {
                    NO_BUDGET.to_owned()
                } else {
                    format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                    )
                };
                self.errors.push(FieldError::invalid(path, kind, &why));
            }
            Err(Fault::Error(error)) if error.starts_with("no such overload") => {
                let why = format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                );
                self.errors.push(FieldError::invalid(path, kind, &why));
            }
            Err(Fault::Error(error)) => {
                self.errors.push(FieldError::invalid(path, kind, &format!("{error} evaluating rule: {shown}")));
            }
        }
    }

    fn failed(&mut self, expression: &Expression, compiled: &Compiled, place: Place<'_>) {
        let Place { scope, value, before, path, .. } = place;
        let uses_old = compiled.rule.as_ref().is_ok_and(|program| program.uses_old);
        let made = compiled.message.as_ref().and_then(|program| {
            let Ok(Outcome::Text(text)) = program.evaluate(scope, value, before.old, &mut self.left) else {
                return None;
            };
            let text = text.trim().to_owned();
            (!text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n')).then_some(text)
        });
        let detail = made.unwrap_or_else(|| match expression.message.trim() {
            "" => format!("failed rule: {}", expression.rule.trim()),
            message => message.to_owned(),
        });
        let place = field_path(scope.schema, &expression.field_path).ok().filter(|(text, _)| !text.is_empty());
        let error = match &place {
            Some((place, _)) => error_for(&expression.reason, &path.child(place), value, &detail),
            None => error_for(&expression.reason, path, value, &detail),
        };
        if !uses_old && before.is_unchanged(value) {
            self.warnings.push(error.to_string());
        } else {
            self.errors.push(error);
        }
    }
}

fn error_for(reason: &str, path: &FieldPath<'_>, value: &Value, detail: &str) -> FieldError {
    let is_whole = !value.is_object() && !value.is_array();
    match reason {
        "FieldValueForbidden" => FieldError::forbidden(path, detail),
        "FieldValueRequired" => FieldError::required(path, detail),
        "FieldValueDuplicate" if is_whole => FieldError::duplicate(path, value),
        "FieldValueDuplicate" => FieldError::bare(FieldReason::Duplicate, path, ""),
        _ if is_whole => FieldError::invalid(path, value, detail),
        // An object is not shown again: it may be large.
        _ => FieldError::bare(FieldReason::Invalid, path, detail),
    }
}

/// Follows a path such as `.spec.a['b']` through a schema: its text in errors, and the schema there.
pub(crate) fn field_path<'s>(schema: &'s Schema, path: &str) -> Result<(String, &'s Schema), String> {
    let (mut schema, mut text, mut rest) = (schema, String::new(), path);
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            name = after[..end].to_owned();
            rest = &after[end..];
            if name.is_empty() {
                return Err("unexpected end of JSON path".to_owned());
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(inner) = after.strip_prefix('\'') else {
                return Err(format!(
                    "expected single quoted string but got {}",
                    after.split(']').next().unwrap_or_default()
                ));
            };
            let Some(end) = inner.find("']") else { return Err("unexpected end of JSON path".to_owned()) };
            name = inner[..end].replace("\\'", "'").replace("\\\\", "\\");
            rest = &inner[end + 2..];
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        }
        let is_named = !schema.properties.is_empty();
        let next = if is_named { schema.properties.get(name.as_str()) } else { schema.additional() };
        schema = next.ok_or("does not refer to a valid field")?;
        if !is_named {
            text.push_str(&format!("[{name}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&name);
        }
    }
    Ok((text, schema))
}

#[cfg(test)]
mod tests;
