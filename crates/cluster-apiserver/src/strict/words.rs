//! What Go says of a value that does not fit. Two readers do: `encoding/json`, and the converter that takes the result of a strategic merge
//! patch or an apply, which is no JSON any more.

/// Who reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reader {
    #[default]
    Json,
    Converter,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Bool,
    Number { is_float: bool, literal: Option<String> },
    Text,
    List,
    Object,
}

/// What it should be: the name of the Go type, and what kind of type that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
}

/// Kinds of Go types, as far as they are read in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// This one of Go's own, whatever its name is.
    Plain(&'static str),
    Slice,
    Map,
    Struct,
    /// One that reads JSON by itself, whoever else reads.
    Own,
}

impl Found {
    fn in_json(&self) -> String {
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Number { literal: None, .. } => "number".to_owned(),
            Self::Number { literal: Some(literal), .. } => format!("number {literal}"),
            Self::Text => "string".to_owned(),
            Self::List => "array".to_owned(),
            Self::Object => "object".to_owned(),
        }
    }

    fn in_go(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Number { is_float: true, .. } => "float64",
            Self::Number { .. } => "int64",
            Self::Text => "string",
            Self::List => "slice",
            Self::Object => "map",
        }
    }
}

/// The text of a mismatch; `target` is the field, as JSON's reader names it.
pub(super) fn mismatch(reader: Reader, found: &Found, wanted: Wanted<'_>, target: &str) -> String {
    let Wanted { name, kind } = wanted;
    match (reader, kind) {
        (Reader::Json, _) => format!("json: cannot unmarshal {} into Go {target} of type {name}", found.in_json()),
        (Reader::Converter, Kind::Own) => {
            format!("json: cannot unmarshal {} into Go value of type {name}", found.in_json())
        }
        (Reader::Converter, Kind::Slice) => format!("cannot restore slice from {}", found.in_go()),
        (Reader::Converter, Kind::Map) => format!("cannot restore map from {}", found.in_go()),
        (Reader::Converter, Kind::Struct) => format!("cannot restore struct from: {}", found.in_go()),
        // Go could turn these into each other, and the converter will not.
        (Reader::Converter, Kind::Plain(plain)) if is_convertible(found, plain) => {
            format!("cannot convert {} to {name}", found.in_go())
        }
        (Reader::Converter, Kind::Plain(plain)) => format!("unrecognized type: {plain}"),
    }
}

fn is_convertible(found: &Found, plain: &str) -> bool {
    match found {
        Found::Number { is_float: false, .. } => plain != "bool",
        Found::Number { .. } => !matches!(plain, "bool" | "string"),
        _ => false,
    }
}
