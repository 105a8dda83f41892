//! What an expression can cost at most, by the sizes that a schema allows. It is counted exactly as cel-go and Kubernetes count, peculiarities
//! included, so that a rule is refused here if and only if a kube-apiserver refuses it.
//!
//! Macros cost what they are made of in cel-go: a loop with an accumulator, a condition, a step and a result.

mod calls;
mod sizes;
mod span;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::Scope;
use super::ast::{Entry, Expr, Fold, FoldKind, Node};
use super::signatures;
use super::types::{Bindings, Ty};
use calls::{Argument, Call};
pub(crate) use sizes::{MAX_REQUEST_BYTES, min_size};
use sizes::{Place, Step};
use span::Span;

/// Of a name, or of a field.
const NAME: Span = Span::fixed(1);
/// Of a call by itself.
const CALL: Span = Span::fixed(1);
/// Of a list that is made.
const LIST: u64 = 10;
/// Of a map that is made.
const MAP: u64 = 30;

/// The types of an expression's parts, by where these are.
pub(super) type Types<'s> = HashMap<*const Node, Ty<'s>>;

/// What is known of a value.
#[derive(Clone, Copy)]
struct Known<'s> {
    place: Place<'s>,
    size: Option<Span>,
    entries: Option<Entries>,
}

/// The sizes of a collection's keys and values.
#[derive(Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Span,
    value: Span,
}

impl Known<'_> {
    fn size_or_unknown(&self) -> Span {
        self.size.unwrap_or(Span::UNKNOWN)
    }
}

impl Entries {
    fn union(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (one, other) = (one?, other?);
        Some(Self { key: one.key.union(other.key), value: one.value.union(other.value), ..one })
    }
}

/// Estimates the cost of the parts of one expression.
pub(super) struct Estimate<'t, 's> {
    types: &'t Types<'s>,
    root: Place<'s>,
    /// Those of macros; the last of a name is the one.
    variables: Vec<(&'t str, Known<'s>)>,
}

impl<'t, 's> Estimate<'t, 's> {
    /// The cost at most of an expression that looks at `scope`.
    pub(super) fn of(node: &'t Node, types: &'t Types<'s>, scope: Scope<'s>) -> u64 {
        let root = Place::At(scope.schema, scope.is_resource);
        Self { types, root, variables: Vec::new() }.node(node).0.max
    }

    fn ty(&self, node: &Node) -> Ty<'s> {
        self.types.get(&std::ptr::from_ref(node)).cloned().unwrap_or(Ty::Dyn)
    }

    /// What is known of a part that stands in a place.
    fn known(&self, node: &Node, place: Place<'s>) -> Known<'s> {
        known(&self.ty(node), place)
    }

    fn node(&mut self, node: &'t Node) -> (Span, Known<'s>) {
        let literal = |size: usize| {
            let size = Some(Span::fixed(size as u64));
            (Span::fixed(0), Known { place: Place::Computed, size, entries: None })
        };
        match &node.expr {
            Expr::Null | Expr::Bool(_) | Expr::Int(_) | Expr::Uint(_) | Expr::Double(_) => literal(1),
            Expr::Text(text) => literal(text.chars().count()),
            Expr::Bytes(bytes) => literal(bytes.len()),
            Expr::Ident(name) => (NAME, self.variable(&self.ty(node), name)),
            // The name of a type.
            Expr::Select(..) if matches!(self.ty(node), Ty::Type) => (NAME, self.known(node, self.root)),
            Expr::Select(operand, name) => {
                let has_fields = matches!(self.ty(operand), Ty::Map(..) | Ty::Object(..));
                let (cost, operand) = self.node(operand);
                let place = operand.place.below(Step::Field(name), self.root);
                (if has_fields { cost.plus(NAME) } else { cost }, self.known(node, place))
            }
            Expr::Has(operand, _) => (self.node(operand).0, self.known(node, Place::Computed)),
            Expr::OptionalSelect(operand, _) => (self.node(operand).0.plus(CALL), self.known(node, Place::Computed)),
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Fold(fold) => self.fold(node, fold),
            Expr::Call { name, target, args } => self.call(node, name, target.as_deref(), args),
        }
    }

    fn variable(&self, ty: &Ty<'s>, name: &str) -> Known<'s> {
        let Some((_, bound)) = self.variables.iter().rev().find(|(known, _)| *known == name) else {
            return known(ty, self.root);
        };
        let known = known(ty, bound.place);
        Known { size: known.size.or(bound.size), entries: bound.entries, ..known }
    }

    fn list(&mut self, items: &'t [Entry<Node>]) -> (Span, Known<'s>) {
        let (mut cost, mut value) = (Span::fixed(LIST), if items.is_empty() { Span::fixed(0) } else { Span::NONE });
        for item in items {
            let (each, known) = self.node(&item.value);
            cost = cost.plus(each);
            value = value.union(known.size_or_unknown());
        }
        let entries = Some(Entries { is_list: true, key: Span::fixed(1), value });
        (cost, Known { place: Place::Computed, size: Some(Span::fixed(items.len() as u64)), entries })
    }

    fn map(&mut self, entries: &'t [Entry<(Node, Node)>]) -> (Span, Known<'s>) {
        let none = if entries.is_empty() { Span::fixed(0) } else { Span::NONE };
        let (mut cost, mut sizes) = (Span::fixed(MAP), Entries { is_list: false, key: none, value: none });
        for Entry { value: (key, value), .. } in entries {
            let ((key_cost, key), (value_cost, value)) = (self.node(key), self.node(value));
            cost = cost.plus(key_cost).plus(value_cost);
            sizes.key = sizes.key.union(key.size_or_unknown());
            sizes.value = sizes.value.union(value.size_or_unknown());
        }
        let size = Some(Span::fixed(entries.len() as u64));
        (cost, Known { place: Place::Computed, size, entries: Some(sizes) })
    }

    fn argument(&mut self, node: &'t Node) -> Argument<'s> {
        let (cost, known) = self.node(node);
        let number = if let Expr::Int(number) = node.expr { Some(number) } else { None };
        Argument { known, ty: self.ty(node), cost, number }
    }

    fn call(&mut self, node: &'t Node, name: &str, target: Option<&'t Node>, args: &'t [Node]) -> (Span, Known<'s>) {
        let args: Vec<Argument<'s>> = args.iter().map(|arg| self.argument(arg)).collect();
        let target = target.map(|target| self.argument(target));
        if let ("dyn", [arg]) = (name, args.as_slice()) {
            return (arg.cost.plus(CALL), Known { place: Place::Computed, ..arg.known });
        }
        let types: Vec<&Ty<'s>> = target.iter().chain(&args).map(|arg| &arg.ty).collect();
        let call = Call { name, target: target.as_ref(), args: &args, root: self.root };
        let (mut cost, mut size, mut place): (_, Option<Span>, _) = (Span::NONE, None, Place::Computed);
        for signature in signatures::of(name, target.is_some()) {
            let mut bindings = Bindings::default();
            let fits = signature.params.len() == types.len()
                && signature.params.iter().zip(&types).all(|(param, arg)| param.accepts(arg, &mut bindings));
            if !fits {
                continue;
            }
            let (each, result) = call.estimate(&signature);
            cost = cost.union(each);
            size = match (size, result) {
                (Some(size), Some(result)) => Some(size.union(result)),
                (size, result) => result.or(size),
            };
            if let ("_[_]", [Ty::List(_) | Ty::Map(..), _], [range, _]) =
                (name, signature.params.as_slice(), args.as_slice())
            {
                size = range.known.entries.map(|entries| entries.value);
                place = range.known.place.below(Step::Element, self.root);
            }
            size = size.or_else(|| self.known(node, place).size);
        }
        let entries = match (name, args.as_slice()) {
            ("_?_:_", [_, one, other]) | ("_+_", [one, other]) => {
                Entries::union(one.known.entries, other.known.entries)
            }
            _ => None,
        };
        let of_target = target.map_or(Span::fixed(0), |target| target.cost);
        (of_target.plus(cost), Known { place, size, entries })
    }

    fn fold(&mut self, node: &'t Node, fold: &'t Fold) -> (Span, Known<'s>) {
        let (cost, range) = self.node(&fold.range);
        match fold.kind {
            FoldKind::OptMap | FoldKind::OptFlatMap => self.optional_fold(node, fold, cost),
            FoldKind::SortBy => {
                let (keys_cost, known) = self.looped(fold, NAME, range);
                let list = Argument { known: range, ty: self.ty(&fold.range), cost: NAME, number: None };
                let keys = Argument { known, ty: Ty::list(self.ty(&fold.body)), cost: keys_cost, number: None };
                let (name, args) = ("@sortByAssociatedKeys", &[keys]);
                let call = Call { name, target: Some(&list), args, root: self.root };
                let (sorting, size) = call.of_lists().unwrap_or((CALL, None));
                let bound = Span::fixed(LIST).plus(cost);
                let known = Known { place: Place::Computed, size, entries: None };
                (bound.plus(NAME).plus(keys_cost).plus(sorting), known)
            }
            _ => self.looped(fold, cost, range),
        }
    }

    /// The type of what a loop over a range looks at.
    fn item(&self, range: &Node) -> Ty<'s> {
        match self.ty(range) {
            Ty::List(item) | Ty::Map(item, _) => item.as_ref().clone(),
            _ => Ty::Dyn,
        }
    }

    /// A loop over a range that costs `cost`.
    fn looped(&mut self, fold: &'t Fold, cost: Span, range: Known<'s>) -> (Span, Known<'s>) {
        let is_list =
            range.entries.map_or_else(|| matches!(self.ty(&fold.range), Ty::List(_)), |entries| entries.is_list);
        let variable = |step: Step<'_>, size: Option<Span>| Known {
            place: range.place.below(step, self.root),
            size,
            entries: None,
        };
        let value = variable(Step::Element, range.entries.map(|entries| entries.value));
        let key = variable(if is_list { Step::Index } else { Step::Key }, range.entries.map(|entries| entries.key));
        let depth = self.variables.len();
        match &fold.second {
            Some(second) => self.variables.extend([(fold.first.as_ref(), key), (second.as_ref(), value)]),
            None => self.variables.push((fold.first.as_ref(), if is_list { value } else { key })),
        }
        let filter = fold.filter.as_ref().map(|filter| self.node(filter).0);
        let (body, made) = self.node(&fold.body);
        let (added, bound) = match &fold.kind {
            FoldKind::Filter => (Span { min: 1, max: LIST + 3 }, self.variable(&self.item(&fold.range), &fold.first)),
            _ => (Span::fixed(LIST + 2).plus(body), made),
        };
        self.variables.truncate(depth);
        // Of what the accumulator is at first, of the loop's condition and its step, and of the result.
        let unless = |step: Span| filter.map_or(step, |filter| filter.plus(step.union(NAME)));
        let (init, condition, step, result) = match fold.kind {
            FoldKind::All => (0, 2, Span { min: 1, max: body.plus(NAME).max }, 1),
            FoldKind::Exists => (0, 3, Span { min: 1, max: body.plus(NAME).max }, 1),
            FoldKind::ExistsOne => (0, 0, body.plus(Span { min: 1, max: 2 }), 2),
            FoldKind::Filter => (LIST, 0, body.plus(added), 1),
            FoldKind::TransformMap => (MAP, 0, unless(body.plus(Span::fixed(3))), 1),
            FoldKind::TransformMapEntry => (MAP, 0, unless(body.plus(Span::fixed(2))), 1),
            _ => (LIST, 0, unless(added), 1),
        };
        let count = range.size_or_unknown();
        let each = step.plus(Span::fixed(condition));
        let cost = cost.plus(Span::fixed(init)).plus(Span::fixed(result)).plus(count.times(each));
        let (size, value) = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => (Span::fixed(1), None),
            FoldKind::TransformMap | FoldKind::TransformMapEntry => (count, None),
            _ => (count, Some(Span::fixed(0).union(bound.size_or_unknown()))),
        };
        let entries = value.map(|value| Entries { is_list: true, key: Span::fixed(1), value });
        (cost, Known { place: Place::Computed, size: Some(size), entries })
    }

    /// `x.hasValue() ? optional.of(cel.bind(v, x.value(), …)) : optional.none()`, and the same with no `of`.
    fn optional_fold(&mut self, node: &'t Node, fold: &'t Fold, cost: Span) -> (Span, Known<'s>) {
        let asked = cost.plus(CALL);
        let inner = match self.ty(&fold.range) {
            Ty::Optional(inner) => size_of(&inner),
            _ => None,
        };
        self.variables.push((fold.first.as_ref(), Known { place: Place::Computed, size: inner, entries: None }));
        let body = self.node(&fold.body).0;
        self.variables.pop();
        let bound = Span::fixed(LIST).plus(asked).plus(body);
        let made = if fold.kind == FoldKind::OptMap { bound.plus(CALL) } else { bound };
        let known = self.known(node, Place::Computed);
        (asked.plus(made.union(CALL)), Known { size: Some(known.size_or_unknown()), ..known })
    }
}

/// What is known of a part of a type that stands in a place: the schema is asked first, then the type.
fn known<'s>(ty: &Ty<'s>, place: Place<'s>) -> Known<'s> {
    Known { place, size: place.size().or_else(|| size_of(ty)), entries: None }
}

/// Values of these types are all of one size.
fn size_of(ty: &Ty<'_>) -> Option<Span> {
    match ty {
        Ty::Bool | Ty::Int | Ty::Uint | Ty::Double | Ty::Duration | Ty::Timestamp => Some(Span::fixed(1)),
        Ty::Optional(inner) => size_of(inner),
        _ => None,
    }
}
