//! What functions do, library by library.

pub(super) mod convert;
pub(super) mod lists;
pub(super) mod net;
mod operators;
pub(super) mod semver;
mod texts;
pub(super) mod time;

use regex::{Regex, RegexBuilder};

use super::eval::{Evaluated, Evaluation, Fault};
use super::value::Val;
use crate::field_error::quote;

/// A compiled expression may take so many bytes.
const PATTERN_MAX_BYTES: usize = 1 << 18;
/// An evaluation keeps so many compiled expressions.
const KEPT_PATTERNS: usize = 16;

/// Calls a function, or a method on its first argument.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    is_method: bool,
    args: &[Val<'a>],
) -> Evaluated<'a> {
    let limit = evaluation.budget.limit();
    let weight = args.iter().fold(0, |sum: usize, arg| sum.saturating_add(arg.weight(limit)));
    evaluation.budget.spend(weight)?;
    let libraries = [operators::call, convert::call, texts::call, lists::call, time::call, net::call, semver::call];
    let done = libraries.into_iter().find_map(|library| library(evaluation, name, args));
    done.unwrap_or_else(|| {
        let types: Vec<&str> = args.iter().map(Val::type_name).collect();
        let at = if is_method { "method " } else { "" };
        Fault::error(format!("no such overload: {at}{name}({})", types.join(", ")))
    })
}

/// Regular expressions that an evaluation has needed.
#[derive(Default)]
pub(super) struct Patterns(Vec<(String, Regex)>);

impl Patterns {
    pub(super) fn get(&mut self, text: &str) -> Result<&Regex, Fault> {
        let known = self.0.iter().position(|(known, _)| known == text);
        let at = match known {
            Some(at) => at,
            None => {
                if self.0.len() >= KEPT_PATTERNS {
                    self.0.remove(0);
                }
                self.0.push((text.to_owned(), compile(text).map_err(Fault::Error)?));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, regex)| regex).ok_or_else(|| Fault::Error("no expression".to_owned()))
    }
}

/// Compiles a regular expression.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(text).size_limit(PATTERN_MAX_BYTES).build();
    compiled.map_err(|_| format!("error parsing regexp: `{text}`"))
}

/// A value as it stands in an error.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => quote(text),
        other => convert::to_text(other).unwrap_or_else(|| other.type_name().to_owned()),
    }
}
