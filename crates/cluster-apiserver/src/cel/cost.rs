//! What an expression can cost at most, by the sizes that a schema allows. It is an estimate from below: texts are taken as short, because an
//! evaluation has a budget anyway and what a kube-apiserver accepts must not be refused here.

use super::ast::{Expr, Fold, FoldKind, Node};
use super::types::field;
use crate::schema::{Schema, Type};

/// How many bytes a request may have, which bounds how many elements a list without a limit can have.
pub(crate) const MAX_CARDINALITY: u64 = 3 * 1024 * 1024;

/// The fewest bytes that a value takes.
pub(crate) fn min_size(schema: &Schema) -> u64 {
    match schema.kind() {
        Some(Type::Object) => {
            let required = schema.required_fields().filter(|(_, field)| field.default_value().is_none());
            let sizes =
                required.map(|(name, field)| (name.len() as u64).saturating_add(min_size(field)).saturating_add(4));
            sizes.fold(2, u64::saturating_add)
        }
        Some(Type::Array | Type::String) => 2,
        Some(Type::Boolean) => 4,
        Some(Type::Integer | Type::Number) | None => 1,
    }
}

/// What is known of a value: its schema, whether that is a resource's, and how many elements it has.
#[derive(Clone, Default)]
struct Known<'s> {
    schema: Option<(&'s Schema, bool)>,
    size: Option<u64>,
}

pub(super) struct Estimate<'s> {
    variables: Vec<(Box<str>, Known<'s>)>,
}

impl<'s> Estimate<'s> {
    pub(super) fn of(schema: &'s Schema, is_resource: bool, node: &Node) -> u64 {
        let known = Known { size: size_of(schema), schema: Some((schema, is_resource)) };
        let variables = vec![("self".into(), known.clone()), ("oldSelf".into(), known)];
        Self { variables }.node(node).0
    }

    fn node(&mut self, node: &Node) -> (u64, Known<'s>) {
        match &node.expr {
            Expr::Ident(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                (1, known.map(|(_, known)| known.clone()).unwrap_or_default())
            }
            Expr::Select(operand, name) | Expr::OptionalSelect(operand, name) => {
                let (cost, operand) = self.node(operand);
                (cost.saturating_add(1), selected(&operand, name))
            }
            Expr::Fold(fold) => self.fold(fold),
            Expr::List(items) => {
                let cost = items.iter().fold(10, |sum: u64, item| sum.saturating_add(self.node(&item.value).0));
                (cost, Known { schema: None, size: Some(items.len() as u64) })
            }
            Expr::Call { name, target, args } => self.call(name, target.as_deref(), args),
            _ => {
                let costs = node.children().into_iter().map(|child| self.node(child).0);
                (costs.fold(1, u64::saturating_add), Known::default())
            }
        }
    }

    fn call(&mut self, name: &str, target: Option<&Node>, args: &[Node]) -> (u64, Known<'s>) {
        let parts: Vec<(u64, Known<'s>)> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect();
        let cost = parts.iter().fold(1, |sum: u64, part| sum.saturating_add(part.0));
        let known = match (name, parts.as_slice()) {
            ("_[_]" | "_[?_]", [(_, range), _]) => element(range),
            ("_?_:_", [_, (_, yes), _]) => yes.clone(),
            ("orValue" | "value" | "or", [(_, of), ..]) => of.clone(),
            _ => Known::default(),
        };
        (cost, known)
    }

    fn fold(&mut self, fold: &Fold) -> (u64, Known<'s>) {
        let (cost, range) = self.node(&fold.range);
        let is_optional = matches!(fold.kind, FoldKind::OptMap | FoldKind::OptFlatMap);
        // Nothing is known of a range that was computed: what it is made of was counted.
        let times = if is_optional { 1 } else { range.size.unwrap_or(1) };
        let depth = self.variables.len();
        let is_map = range.schema.is_some_and(|(schema, _)| schema.additional().is_some());
        let item = if is_optional { range.clone() } else { element(&range) };
        match &fold.second {
            Some(second) => {
                self.variables.push((fold.first.clone(), Known::default()));
                self.variables.push((second.clone(), item));
            }
            None => self.variables.push((fold.first.clone(), if is_map { Known::default() } else { item })),
        }
        let each = fold.filter.iter().chain([&fold.body]).map(|part| self.node(part).0).fold(1, u64::saturating_add);
        self.variables.truncate(depth);
        let kept = match fold.kind {
            FoldKind::Filter if !is_map => range,
            _ => Known { schema: None, size: Some(times) },
        };
        (cost.saturating_add(times.saturating_mul(each)), kept)
    }
}

fn size_of(schema: &Schema) -> Option<u64> {
    let of = |item: &Schema, extra: u64| MAX_CARDINALITY / min_size(item).saturating_add(extra);
    match schema.kind()? {
        Type::Array => schema.max_items().or_else(|| schema.items().map(|items| of(items, 1))),
        Type::Object => schema.max_properties().or_else(|| schema.additional().map(|values| of(values, 6))),
        _ => None,
    }
}

fn known(schema: &Schema) -> Known<'_> {
    Known { schema: Some((schema, schema.is_embedded_resource())), size: size_of(schema) }
}

fn selected<'s>(operand: &Known<'s>, name: &str) -> Known<'s> {
    let Some((schema, is_resource)) = operand.schema else { return Known::default() };
    match schema.additional() {
        Some(values) => known(values),
        None => field(schema, is_resource, name).map(|(schema, _)| known(schema)).unwrap_or_default(),
    }
}

fn element<'s>(range: &Known<'s>) -> Known<'s> {
    let Some((schema, _)) = range.schema else { return Known::default() };
    schema.items().or(schema.additional()).map(known).unwrap_or_default()
}
