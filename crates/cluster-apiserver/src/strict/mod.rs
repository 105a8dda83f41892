//! Decoding a JSON or YAML body into the canonical form of a type, noticing everything that does not fit.
//!
//! One pass over the body, directed by the [facts](crate::facts), does what kube-apiserver does with Go structs:
//! - a value of the wrong type is an error, with Go's text (`json: cannot unmarshal …`); the first one counts;
//! - unknown and duplicate fields are *strict* errors, for `fieldValidation` to refuse, warn of or ignore;
//! - what remains is in canonical form (see [`canonical`](crate::facts::canonical)).
//!
//! Duplicates are only visible in the body itself, so the decoder runs on its text and not on a parsed value; results
//! of patches, which are values already, go through the same pass. Bodies are untrusted: depth is bounded, the number
//! of strict errors too, and nothing panics.
//!
//! Specified by `sigs.k8s.io/json` and recorded answers.

mod cursor;
mod flow;
mod leaf;
mod time;
mod visitor;
mod words;

use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::facts::Type;
use cursor::Cursor;
pub(crate) use cursor::MAX_VALUES;
pub(crate) use leaf::float;
pub use time::{format_micro_time, format_time};
use visitor::{Custom, Message, Untyped};
use words::Reader;

/// An object as the rest of the server takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The canonical form.
    pub value: Value,
    /// What strict validation refuses, such as `unknown field "spec.x"`, in the order of the body.
    pub strict_errors: Vec<String>,
}

impl Decoded {
    /// What came of this one, with what was noticed before.
    pub(crate) fn and(&self, later: Self) -> Self {
        let strict_errors = self.strict_errors.iter().cloned().chain(later.strict_errors).collect();
        Self { strict_errors, ..later }
    }
}

/// Why a body is not of its type, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is not JSON or YAML.
    #[error("{0}")]
    Syntax(String),
    /// A value does not fit its field.
    #[error("{0}")]
    Type(String),
}

/// Decodes a JSON body.
pub fn decode_json(of: Type, body: &[u8]) -> Result<Decoded, DecodeError> {
    json(body, |cursor, reader| Message { of, cursor }.deserialize(reader))
}

/// Decodes a value, such as the result of a patch or what [`parse_yaml`] made of a body.
pub fn decode_value(of: Type, value: &Value) -> Result<Decoded, DecodeError> {
    run(Reader::Json, |cursor| Message { of, cursor }.deserialize(value))
}

/// As [`decode_value`], in the words of the reader that kube-apiserver has for the results of strategic merge patches and applies.
pub(crate) fn convert_value(of: Type, value: &Value) -> Result<Decoded, DecodeError> {
    run(Reader::Converter, |cursor| Message { of, cursor }.deserialize(value))
}

/// Brings an object into the canonical form of the kind that it says it is; what does not fit stays as it is.
pub fn canonicalize(object: &mut Value) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let of = crate::facts::type_of_kind(group, version, object["kind"].as_str().unwrap_or_default());
    if let Some(decoded) = of.and_then(|of| decode_value(of, object).ok()) {
        *object = decoded.value;
    }
}

/// Decodes the JSON body of a custom object: `metadata` as every object's, the rest as it is.
pub fn decode_custom_json(body: &[u8]) -> Result<Decoded, DecodeError> {
    json(body, |cursor, reader| Custom { cursor }.deserialize(reader))
}

/// Decodes a custom object from a value, such as the result of a patch.
pub fn decode_custom_value(value: &Value) -> Result<Decoded, DecodeError> {
    run(Reader::Json, |cursor| Custom { cursor }.deserialize(value))
}

/// Parses JSON without a type, such as a patch, noticing duplicate fields only.
pub fn parse_json(body: &[u8]) -> Result<Decoded, DecodeError> {
    json(body, |cursor, reader| Untyped { cursor }.deserialize(reader))
}

/// Parses YAML without a type. Depth and size are bounded. Of a field that is there twice the last counts, and the first such is a strict error.
pub fn parse_yaml(body: &[u8]) -> Result<Decoded, DecodeError> {
    let error = match serde_saphyr::from_slice(body) {
        Ok(value) => return Ok(Decoded { value, strict_errors: Vec::new() }),
        Err(error) => error,
    };
    let serde_saphyr::Error::DuplicateMappingKey { key, location } = error.without_snippet() else {
        let why = flow::error(body).unwrap_or_else(|| error.to_string());
        return Err(DecodeError::Syntax(format!("yaml: {why}")));
    };
    let key = crate::field_error::quote(key.as_deref().unwrap_or_default());
    let twice = format!("yaml: unmarshal errors:\n  line {}: key {key} already set in map", location.line());
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
    let value = serde_saphyr::from_slice_with_options(body, options);
    let value = value.map_err(|error| DecodeError::Syntax(format!("yaml: {error}")))?;
    Ok(Decoded { value, strict_errors: vec![twice] })
}

/// The text for the strict errors of a request that asks for strict validation.
pub fn strict_error_text(errors: &[String]) -> String {
    format!("strict decoding error: {}", errors.join(", "))
}

fn json<'de>(
    body: &'de [u8],
    decode: impl FnOnce(
        &mut Cursor,
        &mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>,
    ) -> serde_json::Result<Value>,
) -> Result<Decoded, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    run(Reader::Json, |cursor| {
        let value = decode(cursor, &mut reader)?;
        reader.end()?;
        Ok(value)
    })
}

fn run(reader: Reader, decode: impl FnOnce(&mut Cursor) -> serde_json::Result<Value>) -> Result<Decoded, DecodeError> {
    let mut cursor = Cursor::of(reader);
    let value = decode(&mut cursor).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    cursor.finish(value)
}

#[cfg(test)]
mod tests;
