//! Rules in CEL of a schema that is otherwise right: they compile, and none can cost too much.

use serde_json::Value;

use super::super::{Expression, ListType, Schema};
use crate::cel::{CompileError, MAX_REQUEST_BYTES, Program, Wanted, min_size};
use crate::field_error::{FieldError, FieldPath, FieldReason};

/// What one rule may cost at most, over all places where it may have to be evaluated.
const RULE_LIMIT: u64 = 10_000_000;
/// What all rules of a schema may cost together.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// So many rules are named when all together cost too much.
const DEAREST: usize = 4;
const RULES: &str = "x-kubernetes-validations";

pub(super) fn check(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let compiled = super::compiled(schema);
    if !compiled.has_expressions() {
        return;
    }
    let mut walk = Walk { total: 0, dearest: Vec::new(), errors };
    walk.node(&compiled, Place { is_resource: true, cardinality: Some(1), no_old: None }, schema, path);
    let Walk { total, dearest, .. } = walk;
    if total > SCHEMA_LIMIT {
        for (_, place) in dearest {
            let message =
                "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError { reason: FieldReason::Forbidden, field: place, message: message.to_owned() });
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, &too_dear(name, total, SCHEMA_LIMIT)));
    }
}

#[derive(Clone)]
struct Place {
    is_resource: bool,
    /// How many such values an object can have, if that is limited.
    cardinality: Option<u64>,
    /// Below where values cannot be told apart, so that none is known to be what another was.
    no_old: Option<String>,
}

struct Walk<'e> {
    total: u64,
    /// What costs most, and where it stands, the dearest first.
    dearest: Vec<(u64, String)>,
    errors: &'e mut Vec<FieldError>,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Schema, place: Place, raw: &Value, path: &FieldPath<'_>) {
        if !schema.has_expressions() {
            return;
        }
        let below = |is_resource: bool, limit: Option<u64>| {
            let cardinality = place.cardinality.zip(limit).map(|(a, b)| a.saturating_mul(b));
            Place { is_resource, cardinality, no_old: place.no_old.clone() }
        };
        let properties = path.child("properties");
        for (name, property) in &schema.properties {
            let raw = &raw["properties"][name.as_ref()];
            self.node(property, below(property.is_embedded_resource(), Some(1)), raw, &properties.key(name));
        }
        if let Some(values) = schema.additional() {
            let below = below(values.is_embedded_resource(), schema.max_properties());
            self.node(values, below, &raw["additionalProperties"], &path.child("additionalProperties"));
        }
        if let Some(items) = schema.items() {
            let mut below = below(items.is_embedded_resource(), schema.max_items());
            if !matches!(schema.list_type(), ListType::Map(_)) {
                below.no_old = below.no_old.or_else(|| Some(path.to_string()));
            }
            self.node(items, below, &raw["items"], &path.child("items"));
        }
        let rules = path.child(RULES);
        for (index, rule) in schema.expressions.iter().enumerate() {
            self.rule(schema, rule, &place, &raw[RULES][index], &rules.index(index));
        }
    }

    fn rule(&mut self, schema: &Schema, rule: &Expression, place: &Place, raw: &Value, path: &FieldPath<'_>) {
        let scope = rule.scope(schema, place.is_resource);
        let rule_path = path.child("rule");
        let program = match Program::compile(&rule.rule, scope, Wanted::Truth) {
            Ok(program) => program,
            Err(CompileError::NoType) => {
                let why =
                    "Internal error: internal error: failed to retrieve type information for x-kubernetes-validations";
                let field = path.to_string();
                self.errors.push(FieldError { reason: FieldReason::Internal, field, message: why.to_owned() });
                return;
            }
            Err(CompileError::Syntax(text)) => {
                self.errors.push(FieldError::invalid(&rule_path, raw, &format!("compilation failed: {text}")));
                return;
            }
            Err(CompileError::Type(_)) => {
                self.errors.push(FieldError::invalid(&rule_path, raw, "cel expression must evaluate to a bool"));
                return;
            }
        };
        let often = place.cardinality.unwrap_or_else(|| MAX_REQUEST_BYTES / min_size(schema).saturating_add(1));
        self.cost("estimated rule cost", program.worst_case.saturating_mul(often), &rule_path);
        if !rule.message_expression.is_empty() {
            let path = path.child("messageExpression");
            match Program::compile(&rule.message_expression, scope, Wanted::Text) {
                Ok(program) => self.cost("estimated messageExpression cost", program.worst_case, &path),
                Err(CompileError::Syntax(text)) => {
                    let why = format!("messageExpression compilation failed: {text}");
                    self.errors.push(FieldError::invalid(&path, raw, &why));
                }
                Err(_) => {
                    self.errors.push(FieldError::invalid(&path, raw, "messageExpression must evaluate to a string"));
                }
            }
        }
        if !program.uses_old
            && let Some(optional) = rule.optional_old_self
        {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, why));
        }
        if program.uses_old
            && let Some(place) = &place.no_old
        {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
            self.errors.push(FieldError::invalid(&rule_path, rule.rule.as_ref(), &why));
        }
    }

    fn cost(&mut self, name: &str, cost: u64, path: &FieldPath<'_>) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.dearest.push((cost, path.to_string()));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(DEAREST);
        }
        if cost > RULE_LIMIT {
            self.errors.push(FieldError::forbidden(path, &too_dear(name, cost, RULE_LIMIT)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a factor that people read")]
fn too_dear(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        _ if factor > 100.0 => "more than 100x".to_owned(),
        _ if factor < 1.5 => format!("{factor:.6}x"),
        _ => format!("{factor:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}
