//! The part of Go's text templates that Knative's ConfigMaps need.
//!
//! ```text
//! {{.Name}}  {{ index .Annotations "key" }}  {{.Labels.app}}  {{js .Request.URI}}
//! {{if eq .Namespace "a"}}…{{else if …}}…{{else}}…{{end}}  {{- trims -}}  {{/* comment */}}
//! ```
//!
//! Functions: `index`, `js`, `html`, `urlquery`, `eq`, `ne`, `and`, `or`, `not`, with parentheses, and
//! the method `Get` of a request's header (`{{.Request.Header.Get "x-id"}}`). Whatever else Go knows
//! (pipelines, variables, `range`, `with`, `printf`, …) is refused when the template is read, by name,
//! so that a ConfigMap with it is refused too. Nothing here loops or recurses beyond the template's own
//! length, which is bounded.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longer templates are refused.
pub const MAX_TEMPLATE: usize = 16 * 1024;
/// Deeper nesting of `if` or parentheses is refused.
const MAX_DEPTH: usize = 32;

/// Why a template cannot be read or executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is longer than [`MAX_TEMPLATE`].
    #[error("template: {name}: longer than {MAX_TEMPLATE} bytes")]
    TooLong {
        /// The template's name.
        name: String,
    },
    /// It does not have the form of one.
    #[error("template: {name}:{line}: {problem}")]
    Syntax {
        /// The template's name.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// It asks for what is not there.
    #[error("template: {name}: executing {} at <{expression}>: {problem}", crate::go_text::quote(.name))]
    Execute {
        /// The template's name.
        name: String,
        /// The expression that asks.
        expression: String,
        /// What is wrong.
        problem: String,
    },
}

/// A template that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    name: String,
    text: String,
    nodes: Vec<parse::Node>,
}

/// A value that a template can show.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(i64),
    /// A number.
    Float(f64),
    /// A truth.
    Bool(bool),
    /// Labels, annotations and the like.
    Map(&'a BTreeMap<String, String>),
    /// Fields that may have several values each, such as headers.
    Lists(BTreeMap<String, Vec<String>>),
    /// The values of one of them.
    List(Vec<String>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// What a template is executed on.
pub trait Fields {
    /// The value at a path of field names (`.Request.Method` is `["Request", "Method"]`), or `None` if there is
    /// no such field. A map is returned as a whole.
    fn field(&self, path: &[String]) -> Option<Value<'_>>;
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and on which line.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong { name: name.to_owned() });
        }
        let nodes = parse::parse(text).map_err(|(line, problem)| TemplateError::Syntax {
            name: name.to_owned(),
            line,
            problem,
        })?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), nodes })
    }

    /// A template that shows nothing.
    pub(crate) fn text_only(name: &str) -> Self {
        Self { name: name.to_owned(), text: String::new(), nodes: Vec::new() }
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fills it in.
    ///
    /// # Errors
    /// Which expression asks for what is not there.
    pub fn execute(&self, fields: &dyn Fields) -> Result<String, TemplateError> {
        let mut out = String::with_capacity(self.text.len());
        eval::run(&self.nodes, fields, &mut out).map_err(|(expression, problem)| TemplateError::Execute {
            name: self.name.clone(),
            expression,
            problem,
        })?;
        Ok(out)
    }
}
