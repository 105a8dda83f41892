//! Scalars: one JSON value into its canonical spelling, or a note of what is wrong with it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::cursor::Cursor;
use super::time;
use super::words::{Found, Kind, Wanted};
use crate::{
    facts::{Field, Shape, ValueKind},
    quantity::Quantity,
};

/// A scalar as it came.
pub(super) enum Got<'a> {
    Bool(bool),
    Int(i64),
    /// An integer above every signed one.
    Unsigned(u64),
    Float(f64),
    Str(&'a str),
}

impl Got<'_> {
    /// What it is, whatever its value.
    pub(super) fn found(&self) -> Found {
        match self {
            Self::Bool(_) => Found::Bool,
            Self::Int(_) | Self::Unsigned(_) => Found::Number { is_float: false, literal: None },
            Self::Float(_) => Found::Number { is_float: true, literal: None },
            Self::Str(_) => Found::Text,
        }
    }

    /// The literal in Go's errors about numbers.
    fn number_text(&self) -> Option<String> {
        match self {
            Self::Int(number) => Some(number.to_string()),
            Self::Unsigned(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number:?}")),
            Self::Bool(_) | Self::Str(_) => None,
        }
    }
}

/// The Go type of one value of `field`, for error messages.
pub(super) fn wanted(field: Field) -> Wanted<'static> {
    let (name, kind) = match field.value_kind() {
        ValueKind::Bool => (item_type(field), Kind::Plain("bool")),
        ValueKind::Int32 => (item_type(field), Kind::Plain("int32")),
        ValueKind::Int64 => (item_type(field), Kind::Plain("int64")),
        ValueKind::Float64 => (item_type(field), Kind::Plain("float64")),
        ValueKind::String => (item_type(field), Kind::Plain("string")),
        ValueKind::Bytes => ("[]uint8", Kind::Slice),
        ValueKind::Time | ValueKind::MicroTime => ("string", Kind::Own),
        ValueKind::IntOrString => ("int32", Kind::Own),
        ValueKind::Message => (item_type(field), Kind::Struct),
        ValueKind::StringList => (item_type(field), Kind::Slice),
        ValueKind::Quantity
        | ValueKind::RawExtension
        | ValueKind::FieldsV1
        | ValueKind::Json
        | ValueKind::SchemaOrBool
        | ValueKind::SchemaOrArray
        | ValueKind::SchemaOrStringArray => (item_type(field), Kind::Own),
    };
    Wanted { name, kind }
}

fn item_type(field: Field) -> &'static str {
    let whole = field.go_type();
    match (field.shape(), field.message()) {
        (Shape::One, _) => whole,
        (_, Some(message)) if field.value_kind() == ValueKind::Message => message.go_name(),
        (Shape::List, _) => whole.strip_prefix("[]").unwrap_or("string"),
        (Shape::Map, _) => whole.split_once(']').map_or("string", |(_, item)| item),
    }
}

/// One scalar for `field`; `Null` if it does not fit, which `cursor` notes.
pub(super) fn scalar(field: Field, got: &Got<'_>, cursor: &mut Cursor) -> Value {
    match (field.value_kind(), got) {
        (ValueKind::Bool, Got::Bool(value)) | (ValueKind::SchemaOrBool, Got::Bool(value)) => Value::Bool(*value),
        (ValueKind::String, Got::Str(text)) => Value::from(*text),
        (
            ValueKind::Int32 | ValueKind::Int64 | ValueKind::IntOrString,
            Got::Int(_) | Got::Unsigned(_) | Got::Float(_),
        ) => integer(field, got, cursor),
        (ValueKind::IntOrString, Got::Str(text)) => Value::from(*text),
        (ValueKind::Float64, Got::Int(number)) => Value::from(*number),
        (ValueKind::Float64, Got::Unsigned(number)) => Value::from(*number),
        (ValueKind::Float64, Got::Float(number)) => float(*number),
        (ValueKind::Bytes, Got::Str(text)) => bytes(text, cursor),
        (ValueKind::Time, Got::Str(text)) => noted(time::canonical_time(text), cursor),
        (ValueKind::MicroTime, Got::Str(text)) => noted(time::canonical_micro_time(text), cursor),
        (ValueKind::Quantity, got) => quantity(got, cursor),
        (_, got) => {
            cursor.mismatch(&got.found(), wanted(field));
            Value::Null
        }
    }
}

fn integer(field: Field, got: &Got<'_>, cursor: &mut Cursor) -> Value {
    let is_wide = field.value_kind() == ValueKind::Int64;
    if let Got::Int(number) = got
        && (is_wide || i32::try_from(*number).is_ok())
    {
        return Value::from(*number);
    }
    let found = Found::Number { is_float: matches!(got, Got::Float(_)), literal: got.number_text() };
    cursor.mismatch(&found, wanted(field));
    Value::Null
}

/// A float as Go writes it: whole numbers without a fraction.
pub(crate) fn float(number: f64) -> Value {
    if number.fract() == 0.0 {
        // As few digits as tell it from others, then zeros; larger ones than this fits have an exponent.
        let text = number.to_string();
        let whole = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
        if let Ok(whole) = whole {
            return whole;
        }
    }
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn bytes(text: &str, cursor: &mut Cursor) -> Value {
    let clean: String;
    let text = if text.contains(['\r', '\n']) {
        clean = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        &clean
    } else {
        text
    };
    match STANDARD.decode(text) {
        Ok(_) => Value::from(text),
        Err(error) => {
            let offset = match error {
                base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => {
                    offset
                }
                // Go names the start of the group of four that is not whole.
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
            };
            cursor.not_base64(format!("illegal base64 data at input byte {offset}"));
            Value::Null
        }
    }
}

fn quantity(got: &Got<'_>, cursor: &mut Cursor) -> Value {
    let text = match got {
        Got::Str(text) => text.trim().to_owned(),
        Got::Bool(value) => value.to_string(),
        Got::Float(number) => number.to_string(),
        other => other.number_text().unwrap_or_default(),
    };
    match Quantity::parse(&text) {
        Ok(quantity) => Value::from(quantity.to_string()),
        Err(error) => {
            cursor.malformed(error.to_string());
            Value::Null
        }
    }
}

fn noted(result: Result<Option<String>, String>, cursor: &mut Cursor) -> Value {
    match result {
        Ok(text) => text.map_or(Value::Null, Value::from),
        Err(text) => {
            cursor.malformed(text);
            Value::Null
        }
    }
}
