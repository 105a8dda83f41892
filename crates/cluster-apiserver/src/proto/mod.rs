//! Decoding protobuf bodies of built-in kinds into canonical JSON.
//!
//! Current Go clients send every built-in kind, and the options of a delete, as protobuf; answers may stay JSON. A body
//! is an envelope, `k8s\0` and a `runtime.Unknown` message with the object's apiVersion and kind and its bytes. The
//! bytes are read with the field numbers of the [facts](crate::facts), so there is no generated code: numbers become
//! names, embedded messages are laid into their parents, Go's zero values of fields that are no pointers are dropped,
//! and special messages (times, quantities, int-or-string, raw JSON) become their JSON spelling.
//!
//! Bodies are untrusted: every length is checked against the bytes that are there, nesting and the number of values
//! are bounded, and nothing panics. Unknown field numbers are skipped, as protobuf wants it.

mod message;
mod wire;

use serde_json::{Map, Value};

use crate::facts::{self, Type};

/// The first bytes of a protobuf body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Why a body is no object in protobuf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The body does not start with the magic bytes.
    #[error("the body is not in Kubernetes' protobuf format: it does not start with \"k8s\\x00\"")]
    NoMagic,
    /// The bytes end inside a value.
    #[error("unexpected end of protobuf at byte {at}")]
    Truncated {
        /// Where in the message.
        at: usize,
    },
    /// A tag or a number is not one.
    #[error("malformed protobuf at byte {at}: {what}")]
    Malformed {
        /// Where in the message.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A field has another wire type than its kind.
    #[error("protobuf field {field} of {message} has wire type {wire_type}")]
    WireType {
        /// The message's name.
        message: &'static str,
        /// The field's JSON name.
        field: &'static str,
        /// The wire type that came.
        wire_type: u8,
    },
    /// A string is not UTF-8, a time is out of range, raw JSON is none.
    #[error("protobuf field {field}: {what}")]
    Value {
        /// The field's JSON name.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Messages are nested too deeply.
    #[error("protobuf messages are nested more than {max} deep")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// The body holds too many values.
    #[error("the protobuf body has more than {max} values")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The envelope names a kind that this server does not know.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// The apiVersion in the envelope.
        api_version: String,
        /// The kind in the envelope.
        kind: String,
    },
}

/// The envelope of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The object's apiVersion.
    pub api_version: String,
    /// The object's kind.
    pub kind: String,
    /// The object's bytes.
    pub raw: &'a [u8],
}

/// Opens the envelope of a body.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let message = body.strip_prefix(&MAGIC).ok_or(ProtoError::NoMagic)?;
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    for field in wire::fields(message) {
        match field? {
            (1, wire::Value::Bytes(bytes)) => {
                for field in wire::fields(bytes) {
                    match field? {
                        (1, wire::Value::Bytes(text)) => {
                            envelope.api_version = wire::text(text, "apiVersion")?.to_owned()
                        }
                        (2, wire::Value::Bytes(text)) => envelope.kind = wire::text(text, "kind")?.to_owned(),
                        _ => {}
                    }
                }
            }
            (2, wire::Value::Bytes(bytes)) => envelope.raw = bytes,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Decodes a whole body: the object in canonical form, with the envelope's apiVersion and kind.
///
/// The options of a delete come with the apiVersion of whatever is deleted, and are found by their kind alone.
pub fn decode(body: &[u8]) -> Result<Value, ProtoError> {
    let envelope = open(body)?;
    let Some(of) = type_of(&envelope) else {
        return Err(ProtoError::UnknownKind { api_version: envelope.api_version, kind: envelope.kind });
    };
    decode_envelope(&envelope, of)
}

/// Decodes the object of an envelope as `of`, whatever kind the envelope names.
pub fn decode_envelope(envelope: &Envelope<'_>, of: Type) -> Result<Value, ProtoError> {
    let mut value = message::decode(of, envelope.raw)?;
    if let Value::Object(map) = &mut value {
        set_type_meta(map, "apiVersion", &envelope.api_version);
        set_type_meta(map, "kind", &envelope.kind);
    }
    Ok(value)
}

/// The type of an envelope's object.
pub fn type_of(envelope: &Envelope<'_>) -> Option<Type> {
    if envelope.kind == "DeleteOptions" {
        return facts::type_of_kind("meta.k8s.io", "v1", "DeleteOptions");
    }
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
    facts::type_of_kind(group, version, &envelope.kind)
}

fn set_type_meta(map: &mut Map<String, Value>, name: &str, value: &str) {
    if !value.is_empty() {
        map.insert(name.to_owned(), Value::from(value));
    }
}

#[cfg(test)]
mod tests;
