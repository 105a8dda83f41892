//! CEL, the language of `x-kubernetes-validations`: parsed, checked against a schema, and evaluated within a budget.
//!
//! ```text
//! text ─► tokens ─► tree ─► checked (schema → types, signatures) ─► evaluated over the object where it stands
//! ```
//! Everything is bounded: the depth of a tree, the steps of an evaluation, the size of a regular expression. Functions are those of a
//! kube-apiserver's environment for custom resources: CEL's own, optional values, strings, sets, lists, two-variable macros, and Kubernetes'
//! lists, regular expressions, URLs, addresses, quantities, versions and formats. A function that is not here is refused when the CRD is
//! created. Why there is no crate behind it: `docs/adr`.

mod admission;
mod ast;
mod check;
mod cost;
mod equal;
mod eval;
mod keys;
mod lex;
mod library;
mod nesting;
mod parse;
mod problems;
mod signatures;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::cell::Cell;

use serde_json::Value as Json;

use crate::schema::Schema;
pub(crate) use admission::{CONDITIONS_LIMIT, Facts};
use ast::Node;
use check::Checker;
use cost::{Estimate, Types};
pub(crate) use cost::{MAX_REQUEST_BYTES, min_size};
pub(crate) use eval::Fault;
use eval::{Budget, Evaluation};
pub(crate) use library::authz::Authority;
use library::{Patterns, Recent};
use nesting::{MAX_NESTING, nesting};
use problems::{Problem, Problems};
use types::Ty;
use value::Val;

/// What one evaluation may cost.
const CALL_LIMIT: u64 = 1_000_000;
/// What all rules of one object may cost.
pub(crate) const OBJECT_LIMIT: u64 = 10_000_000;

/// An expression may have so many characters.
const MAX_CHARS: usize = 100_000;

/// What an expression may look at.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) schema: &'s Schema,
    /// Whether it is the root of a resource.
    pub(crate) is_resource: bool,
    /// Whether `oldSelf` may be missing, and is asked for that.
    pub(crate) has_optional_old: bool,
}

/// What an expression must give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Truth,
    Text,
}

/// What an expression gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Truth(bool),
    Text(String),
}

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Program {
    node: Node,
    patterns: Patterns,
    /// Whether it compares with what was.
    pub(crate) uses_old: bool,
    /// What it can cost at most; known of expressions about an object that follows a schema.
    pub(crate) worst_case: u64,
}

impl Program {
    /// Parses and checks an expression; the error is what Kubernetes writes after `compilation failed: `, or that its type is wrong.
    pub(crate) fn compile(source: &str, scope: Scope<'_>, wanted: Wanted) -> Result<Self, CompileError> {
        let own = Ty::of_resource(scope.schema, scope.is_resource).ok_or(CompileError::NoType)?;
        let old = if scope.has_optional_old { Ty::optional(own.clone()) } else { own.clone() };
        Self::checked(source, vec![("self".into(), own), ("oldSelf".into(), old)], wanted, Some(scope))
    }

    fn checked<'s>(
        source: &str,
        variables: Vec<(Box<str>, Ty<'s>)>,
        wanted: Wanted,
        scope: Option<Scope<'s>>,
    ) -> Result<Self, CompileError> {
        let node = parsed(source)?;
        let (problems, patterns) = (Problems::default(), Patterns::default());
        let mut checker = Checker { variables, problems, patterns, types: Types::default() };
        let found = checker.check(&node);
        let Checker { problems, patterns, types, .. } = checker;
        if !problems.is_empty() {
            return Err(CompileError::Syntax(problems.report(source)));
        }
        if !matches!((&found, wanted), (Ty::Bool, Wanted::Truth) | (Ty::Text, Wanted::Text)) {
            return Err(CompileError::Type(found.to_string()));
        }
        let uses_old = node.reads("oldSelf");
        let worst_case = scope.map(|scope| Estimate::of(&node, &types, scope)).unwrap_or_default();
        Ok(Self { node, patterns, uses_old, worst_case })
    }

    /// Evaluates it for a value and what that was before; `left` is what may be spent, and is.
    pub(crate) fn evaluate(
        &self,
        scope: Scope<'_>,
        own: &Json,
        old: Option<&Json>,
        left: &mut u64,
    ) -> Result<Outcome, Fault> {
        let value = |json| Val::of(json, scope.schema, scope.is_resource);
        let mut variables = vec![("self", value(own))];
        match old.map(value) {
            Some(old) if scope.has_optional_old => variables.push(("oldSelf", Val::some(old))),
            Some(old) => variables.push(("oldSelf", old)),
            None if scope.has_optional_old => variables.push(("oldSelf", Val::Optional(None))),
            None => {}
        }
        self.run(variables, None, left)
    }

    fn run<'a>(
        &'a self,
        variables: Vec<(&'a str, Val<'a>)>,
        authority: Option<&'a dyn Authority>,
        left: &mut u64,
    ) -> Result<Outcome, Fault> {
        let granted = (*left).min(CALL_LIMIT);
        let budget = Budget(Cell::new(granted));
        let (patterns, recent) = (&self.patterns, Recent::default());
        let mut evaluation = Evaluation { variables, budget, patterns, recent, authority };
        let outcome = evaluation.eval(&self.node);
        *left -= granted - evaluation.budget.0.get();
        match outcome? {
            Val::Bool(truth) => Ok(Outcome::Truth(truth)),
            Val::Text(text) => Ok(Outcome::Text(text.to_string())),
            other => Fault::error(format!("no such overload: a result of type {}", other.type_name())),
        }
    }
}

/// Why an expression is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// Mistakes, as CEL reports them.
    Syntax(String),
    /// It gives something else than it should: a value of this type.
    Type(String),
    /// It stands where there is nothing that expressions may look at.
    NoType,
}

impl CompileError {
    /// The error as it is told of an expression about a request.
    pub(crate) fn told(&self, wanted: Wanted) -> String {
        match self {
            Self::Syntax(text) => format!("compilation failed: {text}"),
            Self::Type(found) => {
                let wanted = if wanted == Wanted::Truth { "bool" } else { "string" };
                format!("must evaluate to {wanted} but got {found}")
            }
            Self::NoType => "failed to retrieve type information".to_owned(),
        }
    }
}

fn parsed(source: &str) -> Result<Node, CompileError> {
    let size = source.chars().count();
    if size > MAX_CHARS {
        return Err(CompileError::Syntax(problems::too_long(size, MAX_CHARS)));
    }
    let refused = |problem: Problem| CompileError::Syntax(Problems::from(problem).report(source));
    let node = parse::parse(source).map_err(refused)?;
    if nesting(&node) > MAX_NESTING {
        let text = format!("type nesting limit exceeded: {MAX_NESTING}");
        return Err(refused(Problem { at: node.at, text }));
    }
    Ok(node)
}
