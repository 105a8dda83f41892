//! Evaluation of a checked expression, within a budget.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::admission::REQUEST_RESOURCE;
use super::ast::{Entry, Expr, Fold, FoldKind, Node};
use super::check::{is_type_name, qualified_name};
use super::keys::Key;
use super::library::authz::{Authority, Step};
use super::library::{self, Patterns, Recent};
use super::value::{Text, Val};

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What went wrong, in CEL's words.
    Error(String),
    /// It would have taken too long.
    Cost,
}

impl Fault {
    pub(super) fn error<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Error(text.into()))
    }
}

pub(super) type Evaluated<'a> = Result<Val<'a>, Fault>;

/// An evaluation that is under way.
pub(super) struct Evaluation<'a> {
    pub(super) variables: Vec<(&'a str, Val<'a>)>,
    pub(super) budget: Budget,
    /// What the program has compiled.
    pub(super) patterns: &'a Patterns,
    pub(super) recent: Recent,
    /// Who is asked what somebody may do, if anybody is.
    pub(super) authority: Option<&'a dyn Authority>,
}

/// What may still be spent. A unit is about what a comparison of two numbers takes.
#[derive(Debug)]
pub(super) struct Budget(pub(super) Cell<u64>);

impl Budget {
    pub(super) fn spend(&self, cost: usize) -> Result<(), Fault> {
        let left = self.0.get().checked_sub(u64::try_from(cost).unwrap_or(u64::MAX));
        self.0.set(left.unwrap_or_default());
        left.map(|_| ()).ok_or(Fault::Cost)
    }

    /// What is left, as the limit of a walk.
    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.0.get()).unwrap_or(usize::MAX).saturating_add(1)
    }
}

impl<'a> Evaluation<'a> {
    pub(super) fn eval(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.budget.spend(1)?;
        match &node.expr {
            Expr::Null => Ok(Val::Null),
            Expr::Bool(value) => Ok(Val::Bool(*value)),
            Expr::Int(value) => Ok(Val::Int(*value)),
            Expr::Uint(value) => Ok(Val::Uint(*value)),
            Expr::Double(value) => Ok(Val::Double(*value)),
            Expr::Text(text) => Ok(Val::Text(Text::Borrowed(text))),
            Expr::Bytes(bytes) => Ok(Val::Bytes(bytes.as_ref().into())),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(operand, name) => match qualified_name(operand, name) {
                Some(name) => Ok(Val::Type(name)),
                None => match self.eval(operand)? {
                    Val::Check(check) if check.of == Step::Whatever && name.as_ref() == "requestResource" => {
                        self.variable(REQUEST_RESOURCE)
                    }
                    operand => self.paid(select(&operand, name)?),
                },
            },
            Expr::Has(operand, name) => Ok(Val::Bool(match self.eval(operand)? {
                Val::Optional(None) => false,
                Val::Optional(Some(inner)) => inner.has(name),
                operand => operand.has(name),
            })),
            Expr::OptionalSelect(operand, name) => match self.eval(operand)? {
                Val::Optional(inner) => self.paid(flat(inner.and_then(|inner| inner.select(name)))),
                operand => self.paid(flat(operand.select(name))),
            },
            Expr::Call { name, target, args } => {
                let value = self.call(name, target.as_deref(), args)?;
                self.paid(value)
            }
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Fold(fold) => self.fold(fold),
        }
    }

    /// A value that may have had to be decoded.
    fn paid(&self, value: Val<'a>) -> Evaluated<'a> {
        self.budget.spend(value.decoding())?;
        Ok(value)
    }

    fn variable(&self, name: &'a str) -> Evaluated<'a> {
        if let Some((_, value)) = self.variables.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        if is_type_name(name) {
            return Ok(Val::Type(type_name(name)));
        }
        Fault::error(format!("no such attribute: {name}"))
    }

    fn call(&mut self, name: &str, target: Option<&'a Node>, args: &'a [Node]) -> Evaluated<'a> {
        match (name, args) {
            ("_&&_", [a, b]) => self.logical(a, b, false),
            ("_||_", [a, b]) => self.logical(a, b, true),
            ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                Val::Bool(true) => self.eval(yes),
                Val::Bool(false) => self.eval(no),
                _ => Fault::error("no such overload: _?_:_"),
            },
            // Their argument is looked at only if it is needed.
            ("or" | "orValue", [other]) if target.is_some() => self.or(name, target, other),
            _ => {
                let values = target.into_iter().chain(args).map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
                library::call(self, name, target.is_some(), &values)
            }
        }
    }

    fn or(&mut self, name: &str, target: Option<&'a Node>, other: &'a Node) -> Evaluated<'a> {
        let Some(target) = target else { return Fault::error(format!("no such overload: {name}")) };
        match self.eval(target)? {
            Val::Optional(Some(value)) if name == "orValue" => Ok(value.as_ref().clone()),
            some @ Val::Optional(Some(_)) => Ok(some),
            Val::Optional(None) => self.eval(other),
            _ => Fault::error(format!("no such overload: {name}")),
        }
    }

    /// An error on one side does not matter if the other decides.
    fn logical(&mut self, a: &'a Node, b: &'a Node, decisive: bool) -> Evaluated<'a> {
        let first = self.truth(a);
        if first == Ok(decisive) || first == Err(Fault::Cost) {
            return first.map(Val::Bool);
        }
        match self.truth(b) {
            Ok(second) if second == decisive => Ok(Val::Bool(decisive)),
            Err(Fault::Cost) => Err(Fault::Cost),
            second => first.and(second).map(Val::Bool),
        }
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, Fault> {
        match self.eval(node)? {
            Val::Bool(value) => Ok(value),
            _ => Fault::error("no such overload: a condition that is no bool"),
        }
    }

    fn list(&mut self, items: &'a [Entry<Node>]) -> Evaluated<'a> {
        self.budget.spend(10)?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match self.eval(&item.value)? {
                Val::Optional(value) if item.is_optional => values.extend(value.map(|value| value.as_ref().clone())),
                value => values.push(value),
            }
        }
        Ok(Val::list(values))
    }

    fn map(&mut self, entries: &'a [Entry<(Node, Node)>]) -> Evaluated<'a> {
        self.budget.spend(30)?;
        let mut values = BTreeMap::new();
        for Entry { is_optional, value: (key, value) } in entries {
            let key = self.eval(key)?;
            let value = match self.eval(value)? {
                Val::Optional(None) if *is_optional => continue,
                Val::Optional(Some(value)) if *is_optional => value.as_ref().clone(),
                value => value,
            };
            self.insert(&mut values, key, value)?;
        }
        Ok(Val::Map(values.into()))
    }

    fn insert(&self, entries: &mut BTreeMap<Key<'a>, Val<'a>>, key: Val<'a>, value: Val<'a>) -> Result<(), Fault> {
        self.budget.spend(1)?;
        match entries.insert(Key::made(&key)?, value) {
            Some(_) => Fault::error(format!("insert failed: key {} already exists", library::shown(&key))),
            None => Ok(()),
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.eval(&fold.range)?;
        if let Val::Optional(inner) = range {
            let Some(inner) = inner else { return Ok(Val::Optional(None)) };
            let value = self.with(fold, (inner.as_ref().clone(), Val::Null), |this| this.eval(&fold.body))?;
            return Ok(if fold.kind == FoldKind::OptMap { Val::some(value) } else { value });
        }
        self.budget.spend(1 + range.size().unwrap_or_default())?;
        let pairs: Vec<(Val<'a>, Val<'a>)> = match (range.items(), range.entries()) {
            (Some(items), _) if fold.second.is_some() => {
                items.into_iter().zip(0..).map(|(item, index)| (Val::Int(index), item)).collect()
            }
            (Some(items), _) => items.into_iter().map(|item| (item, Val::Null)).collect(),
            (None, Some(entries)) => entries,
            (None, None) => return Fault::error(format!("no such overload: {} as a range", range.type_name())),
        };
        self.budget.spend(pairs.iter().map(|(first, second)| first.decoding() + second.decoding()).sum())?;
        match fold.kind {
            FoldKind::All => self.decide(fold, pairs, false),
            FoldKind::Exists => self.decide(fold, pairs, true),
            _ => self.collect(fold, pairs),
        }
    }

    fn with<T>(
        &mut self,
        fold: &'a Fold,
        (first, second): (Val<'a>, Val<'a>),
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let depth = self.variables.len();
        self.variables.push((&fold.first, first));
        if let Some(name) = &fold.second {
            self.variables.push((name, second));
        }
        let done = work(self);
        self.variables.truncate(depth);
        done
    }

    /// `all` ends at the first that is false, `exists` at the first that is true; an error counts if none is.
    fn decide(&mut self, fold: &'a Fold, pairs: Vec<(Val<'a>, Val<'a>)>, decisive: bool) -> Evaluated<'a> {
        let mut outcome = Ok(!decisive);
        for pair in pairs {
            match self.with(fold, pair, |this| this.truth(&fold.body)) {
                Ok(value) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.map(Val::Bool)
    }

    fn collect(&mut self, fold: &'a Fold, pairs: Vec<(Val<'a>, Val<'a>)>) -> Evaluated<'a> {
        let (mut list, mut sorted, mut map, mut matching) = (Vec::new(), Vec::new(), BTreeMap::new(), 0);
        for pair in pairs {
            let element = pair.clone();
            let made = self.with(fold, pair, |this| match &fold.filter {
                Some(filter) if !this.truth(filter)? => Ok(None),
                _ => this.eval(&fold.body).map(Some),
            })?;
            let Some(made) = made else { continue };
            let is_true = matches!(made, Val::Bool(true));
            match fold.kind {
                FoldKind::ExistsOne => matching += usize::from(is_true),
                FoldKind::Filter if is_true => list.push(element.0),
                FoldKind::Filter => {}
                FoldKind::SortBy => sorted.push((made, element.0)),
                FoldKind::TransformMap => self.insert(&mut map, element.0, made)?,
                FoldKind::TransformMapEntry => {
                    for (key, value) in made.entries().unwrap_or_default() {
                        self.insert(&mut map, key, value)?;
                    }
                }
                _ => list.push(made),
            }
        }
        match fold.kind {
            FoldKind::ExistsOne => Ok(Val::Bool(matching == 1)),
            FoldKind::TransformMap | FoldKind::TransformMapEntry => Ok(Val::Map(map.into())),
            FoldKind::SortBy => library::lists::sort_by_key(&self.budget, sorted),
            _ => Ok(Val::list(list)),
        }
    }
}

fn select<'a>(operand: &Val<'a>, name: &str) -> Evaluated<'a> {
    if let Val::Optional(inner) = operand {
        return Ok(flat(inner.as_ref().and_then(|inner| inner.select(name))));
    }
    match operand.select(name) {
        Some(value) => Ok(value),
        None if operand.is_map() => Fault::error(format!("no such key: {name}")),
        None => Fault::error(format!("no such overload: {}.{name}", operand.type_name())),
    }
}

/// An optional value; one that is optional already stays what it is.
fn flat(value: Option<Val<'_>>) -> Val<'_> {
    match value {
        Some(optional @ Val::Optional(_)) => optional,
        Some(value) => Val::some(value),
        None => Val::Optional(None),
    }
}

fn type_name(name: &str) -> &'static str {
    const NAMES: [&str; 12] = [
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
        "type",
        "optional_type",
        "dyn",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("dyn")
}
