//! Which form of an answer a client takes: its `Accept` header against what this server can send.
//!
//! Protobuf answers are not made; clients that prefer them list JSON as well.

use crate::status::{Result, StatusError};

/// The syntax of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Syntax {
    #[default]
    Json,
    Yaml,
}

/// The shape that an object or list is sent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is.
    #[default]
    Object,
    /// Rows for people.
    Table,
    /// Metadata alone.
    PartialMetadata,
}

/// An acceptable answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) syntax: Syntax,
    pub(crate) shape: Shape,
}

impl Syntax {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// One entry of an `Accept` header.
#[derive(Debug)]
pub(crate) struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    pub(crate) fn is(&self, media_type: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type)
    }

    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value)
    }
}

/// The entries of an `Accept` header, best first.
pub(crate) fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().filter(|text| !text.is_empty())?;
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let quality =
        parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse().ok()).unwrap_or(1.0);
    Some(Clause { media_type, parameters, quality })
}

/// Whether objects can be sent as tables and as metadata where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    All,
    ObjectOnly,
}

/// The best answer that an `Accept` header allows.
///
/// # Errors
/// 406 if there is none.
pub(crate) fn negotiate(accept: Option<&str>, shapes: Shapes) -> Result<Accepted> {
    let accept = accept.map(str::trim).unwrap_or_default();
    if accept.is_empty() {
        return Ok(Accepted::default());
    }
    let clauses = clauses(accept);
    let found = clauses.iter().filter(|clause| clause.quality > 0.0).find_map(|clause| accepted(clause, shapes));
    found.ok_or_else(|| match clauses.iter().any(|clause| clause.is(PROTOBUF)) {
        true => StatusError::only_accepted(),
        false => StatusError::not_acceptable(),
    })
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn accepted(clause: &Clause<'_>, shapes: Shapes) -> Option<Accepted> {
    let syntax = match clause.media_type {
        "*/*" | "application/*" | "application/json" => Syntax::Json,
        "application/yaml" => Syntax::Yaml,
        _ => return None,
    };
    let shape = match clause.parameter("as") {
        "" => Shape::Object,
        _ if shapes == Shapes::ObjectOnly || clause.parameter("g") != "meta.k8s.io" => return None,
        "Table" => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::PartialMetadata,
        _ => return None,
    };
    let known_version = shape == Shape::Object || matches!(clause.parameter("v"), "v1" | "v1beta1");
    known_version.then_some(Accepted { syntax, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(accept: &str) -> Option<(Syntax, Shape)> {
        negotiate(Some(accept), Shapes::All).ok().map(|accepted| (accepted.syntax, accepted.shape))
    }

    #[test]
    fn the_first_form_that_can_be_made() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(ask(table), Some((Syntax::Json, Shape::Table)));
        assert_eq!(ask("application/vnd.kubernetes.protobuf, application/json"), Some((Syntax::Json, Shape::Object)));
        assert_eq!(ask("application/json;q=0.5, application/yaml"), Some((Syntax::Yaml, Shape::Object)));
        assert_eq!(ask("application/json;as=Frame;g=meta.k8s.io;v=v1,*/*"), Some((Syntax::Json, Shape::Object)));
        assert_eq!(ask(""), Some((Syntax::Json, Shape::Object)));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(ask(metadata), Some((Syntax::Json, Shape::PartialMetadata)));
        assert!(negotiate(Some(metadata), Shapes::ObjectOnly).is_err());
    }

    #[test]
    fn nothing_acceptable_is_406() {
        let error = negotiate(Some("text/html"), Shapes::All).expect_err("406");
        assert!(error.message.starts_with("406: Not Acceptable\n\nAvailable representations: application/json"));
        let error = negotiate(Some("application/vnd.kubernetes.protobuf"), Shapes::All).expect_err("406");
        assert!(error.message.starts_with("only the following media types are accepted: "));
    }
}
