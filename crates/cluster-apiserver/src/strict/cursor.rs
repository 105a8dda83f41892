//! Where in a body the decoder is, and what it has noticed so far.

use serde_json::Value;

use super::words::{self, Found, Kind, Reader, Wanted};
use super::{DecodeError, Decoded};
use crate::facts::{Field, Type};

const MAX_STRICT_ERRORS: usize = 100;
/// A body may have so many values: a small one takes a few bytes of text and hundreds of memory.
pub(crate) const MAX_VALUES: usize = 200_000;

/// One step from the root of a body to a value.
pub(super) enum Segment {
    /// A field of a message.
    Field(Type, Field),
    /// An item of a list.
    Index(usize),
    /// An entry of a map, or a field of something without a type.
    Key(String),
}

/// The decoder's place and its findings.
#[derive(Default)]
pub(super) struct Cursor {
    path: Vec<Segment>,
    values: usize,
    strict_errors: Vec<String>,
    reader: Reader,
    first_error: Option<String>,
    /// Where a type that reads by itself failed: this ends Go's reading, whatever did not fit before.
    end: Option<String>,
}

impl Cursor {
    pub(super) fn of(reader: Reader) -> Self {
        Self { reader, ..Self::default() }
    }

    /// Goes one step down; fails when the body has more values than a body may have.
    pub(super) fn push<E: serde::de::Error>(&mut self, segment: Segment) -> Result<(), E> {
        self.path.push(segment);
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(E::custom(format_args!("the body has more than {MAX_VALUES} values")));
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Segment> {
        self.path.pop()
    }

    /// Notes a field that its message does not have.
    pub(super) fn unknown(&mut self, name: &str) {
        let path = self.strict_path(name);
        self.strict(format!("unknown field {}", crate::field_error::quote(&path)));
    }

    /// Notes a field that came before.
    pub(super) fn duplicate(&mut self, name: &str) {
        let path = self.strict_path(name);
        self.strict(format!("duplicate field {}", crate::field_error::quote(&path)));
    }

    fn strict(&mut self, text: String) {
        if self.strict_errors.len() < MAX_STRICT_ERRORS && !self.strict_errors.contains(&text) {
            self.strict_errors.push(text);
        }
    }

    /// Notes a value of the wrong JSON type.
    pub(super) fn mismatch(&mut self, found: &Found, wanted: Wanted<'_>) {
        let is_end = wanted.kind == Kind::Own;
        if self.end.is_some() || self.first_error.is_some() && !is_end {
            return;
        }
        let mut names = String::new();
        let mut owner = None;
        for segment in &self.path {
            if let Segment::Field(of, field) = segment {
                if !names.is_empty() {
                    names.push('.');
                }
                names.push_str(field.embedded_in());
                names.push_str(field.name());
                owner = Some(of);
            }
        }
        let target = match owner {
            Some(of) => format!("struct field {}.{names}", of.go_struct_name()),
            None => "value".to_owned(),
        };
        let text = words::mismatch(self.reader, found, wanted, &target);
        *(if is_end { &mut self.end } else { &mut self.first_error }) = Some(text);
    }

    /// Notes text that is not base64.
    pub(super) fn not_base64(&mut self, text: String) {
        let text = match self.reader {
            Reader::Json => text,
            Reader::Converter => format!("error decoding from json: {text}"),
        };
        self.first_error.get_or_insert(text);
    }

    /// Notes a value of the right type whose form its own reader does not take.
    pub(super) fn malformed(&mut self, text: String) {
        self.end.get_or_insert(text);
    }

    fn strict_path(&self, name: &str) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(_, field) => dotted(&mut path, field.name()),
                Segment::Key(key) => dotted(&mut path, key),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        dotted(&mut path, name);
        path
    }

    pub(super) fn finish(mut self, value: Value) -> Result<Decoded, DecodeError> {
        if self.reader == Reader::Converter {
            self.strict_errors.sort();
        }
        match self.end.or(self.first_error) {
            Some(text) => Err(DecodeError::Type(text)),
            None => Ok(Decoded { value, strict_errors: self.strict_errors }),
        }
    }
}

fn dotted(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}
