//! What functions do, library by library.

pub(super) mod authz;
pub(super) mod convert;
pub(super) mod lists;
pub(super) mod net;
mod operators;
pub(super) mod semver;
mod texts;
pub(super) mod time;

use std::collections::BTreeMap;

use regex::Regex;

use super::eval::{Budget, Evaluated, Evaluation, Fault};
use super::value::Val;
use crate::field_error::quote;
use crate::pattern;

pub(super) use convert::whole;

/// An evaluation keeps so many expressions that it has compiled.
const KEPT_PATTERNS: usize = 16;
/// How much the expressions that a program keeps may weigh together; others are compiled when they are needed.
const MAX_KEPT_WEIGHT: usize = 200_000;

/// Calls a function, or a method on its first argument.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    is_method: bool,
    args: &[Val<'a>],
) -> Evaluated<'a> {
    if let Some(depth) = walked(name, args) {
        let limit = evaluation.budget.limit();
        let weight = args.iter().fold(0, |sum: usize, arg| sum.saturating_add(arg.weight(limit, depth)));
        evaluation.budget.spend(weight)?;
    }
    let libraries =
        [operators::call, convert::call, texts::call, lists::call, time::call, net::call, semver::call, authz::call];
    let done = libraries.into_iter().find_map(|library| library(evaluation, name, args));
    done.unwrap_or_else(|| {
        let types: Vec<&str> = args.iter().map(Val::type_name).collect();
        let at = if is_method { "method " } else { "" };
        Fault::error(format!("no such overload: {at}{name}({})", types.join(", ")))
    })
}

/// How deep a function looks into its arguments; `None` if it takes the same time whatever they are, or pays on its way.
fn walked(name: &str, args: &[Val<'_>]) -> Option<usize> {
    match (name, args) {
        ("_[_]" | "_[?_]" | "_==_" | "_!=_" | "type" | "dyn" | "hasValue" | "value" | "first" | "last", _) => None,
        ("optional.of" | "optional.ofNonZeroValue", _) => None,
        ("@in", [_, range]) if range.is_map() => None,
        ("size", [of]) if !matches!(of, Val::Text(_)) => None,
        ("_+_", _) => Some(0),
        ("format" | "flatten", _) => Some(usize::MAX),
        _ => Some(1),
    }
}

/// The regular expressions that are written in an expression, compiled once.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: BTreeMap<Box<str>, Regex>,
    weight: usize,
}

impl Patterns {
    /// Compiles one and keeps it, unless all would weigh too much.
    ///
    /// # Errors
    /// It is no regular expression.
    pub(super) fn keep(&mut self, text: &str) -> Result<(), String> {
        let weight = self.weight.saturating_add(pattern::weight(text));
        if weight <= MAX_KEPT_WEIGHT && !self.known.contains_key(text) {
            self.known.insert(text.into(), pattern::compile(text)?);
            self.weight = weight;
        }
        Ok(())
    }

    pub(super) fn get(&self, text: &str) -> Option<&Regex> {
        self.known.get(text)
    }
}

/// Regular expressions that an evaluation has come upon, the last of them.
#[derive(Default)]
pub(super) struct Recent(Vec<(String, Regex)>);

impl Recent {
    /// # Errors
    /// It is no regular expression, or compiling it takes more than the budget has left.
    pub(super) fn get(&mut self, text: &str, budget: &Budget) -> Result<&Regex, Fault> {
        let known = self.0.iter().position(|(known, _)| known == text);
        let at = match known {
            Some(at) => at,
            None => {
                budget.spend(pattern::weight(text))?;
                if self.0.len() >= KEPT_PATTERNS {
                    self.0.remove(0);
                }
                self.0.push((text.to_owned(), pattern::compile(text).map_err(Fault::Error)?));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, regex)| regex).ok_or_else(|| Fault::Error("no expression".to_owned()))
    }
}

/// A value as it stands in an error.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => quote(text),
        other => convert::to_text(other).unwrap_or_else(|| other.type_name().to_owned()),
    }
}
