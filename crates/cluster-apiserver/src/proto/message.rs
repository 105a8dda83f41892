//! One message into one JSON object, by the facts of its type.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ProtoError,
    wire::{self, fields, packed, text},
};
use crate::{
    facts::{Field, Shape, Type, ValueKind, canonical},
    quantity::Quantity,
    strict::{self, MAX_VALUES},
    value::MAX_DEPTH,
};

/// Decodes a message of type `of`.
pub(super) fn decode(of: Type, bytes: &[u8]) -> Result<Value, ProtoError> {
    Decoder { values: 0 }.message(of, bytes, 0)
}

struct Decoder {
    values: usize,
}

/// An embedding: the numbers of the messages around the fields, and how many.
type Via = ([u8; 2], usize);

impl Decoder {
    fn message(&mut self, of: Type, bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
        let mut out = Map::new();
        self.fields(of, ([0, 0], 0), bytes, depth, &mut out)?;
        canonical::finish(of, &mut out);
        Ok(Value::Object(out))
    }

    fn fields(
        &mut self,
        of: Type,
        via: Via,
        bytes: &[u8],
        depth: usize,
        out: &mut Map<String, Value>,
    ) -> Result<(), ProtoError> {
        if depth > MAX_DEPTH {
            return Err(ProtoError::TooDeep { max: MAX_DEPTH });
        }
        for field in fields(bytes) {
            let (number, value) = field?;
            let Ok(number) = u8::try_from(number) else { continue };
            if let Some(field) = of.fields().find(|f| f.number() == number && f.via() == via.0) {
                self.field(of, field, value, depth, out)?;
            } else if let (Some(inner), wire::Value::Bytes(bytes)) = (embedding(of, via, number), value) {
                self.fields(of, inner, bytes, depth + 1, out)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        of: Type,
        field: Field,
        value: wire::Value<'_>,
        depth: usize,
        out: &mut Map<String, Value>,
    ) -> Result<(), ProtoError> {
        match (field.shape(), value) {
            (Shape::One, value) => {
                let value = self.one(of, field, value, depth)?;
                if !value.is_null() {
                    out.insert(field.name().to_owned(), value);
                }
            }
            (Shape::List, wire::Value::Bytes(bytes)) if is_number(field.value_kind()) => {
                for number in packed(bytes)? {
                    let item = self.one(of, field, wire::Value::Varint(number), depth)?;
                    list_of(out, field).push(item);
                }
            }
            (Shape::List, value) => {
                let item = self.item(of, field, value, depth)?;
                list_of(out, field).push(item);
            }
            (Shape::Map, wire::Value::Bytes(bytes)) => {
                let (key, item) = self.entry(of, field, bytes, depth)?;
                let entries = out.entry(field.name()).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(entries) = entries {
                    entries.insert(key, item);
                }
            }
            (Shape::Map, value) => return Err(wrong_type(of, field, &value)),
        }
        Ok(())
    }

    /// A map's entry: its key and its value.
    fn entry(&mut self, of: Type, field: Field, bytes: &[u8], depth: usize) -> Result<(String, Value), ProtoError> {
        let mut key = String::new();
        let mut item = None;
        for part in fields(bytes) {
            match part? {
                (1, wire::Value::Bytes(bytes)) => key = text(bytes, field.name())?.to_owned(),
                (2, value) => item = Some(self.item(of, field, value, depth)?),
                _ => {}
            }
        }
        Ok((key, item.unwrap_or_else(|| canonical::zero_item(field))))
    }

    /// One value in a list or map, where an unset one is zero.
    fn item(&mut self, of: Type, field: Field, value: wire::Value<'_>, depth: usize) -> Result<Value, ProtoError> {
        let item = self.one(of, field, value, depth)?;
        Ok(if item.is_null() { canonical::zero_item(field) } else { item })
    }

    fn one(&mut self, of: Type, field: Field, value: wire::Value<'_>, depth: usize) -> Result<Value, ProtoError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(ProtoError::TooMany { max: MAX_VALUES });
        }
        match (field.value_kind(), value) {
            (ValueKind::Bool, wire::Value::Varint(number)) => Ok(Value::Bool(number != 0)),
            (ValueKind::Int32, wire::Value::Varint(number)) => Ok(Value::from(int32(number))),
            (ValueKind::Int64, wire::Value::Varint(number)) => Ok(Value::from(number.cast_signed())),
            (ValueKind::Float64, wire::Value::Fixed64(bits)) => Ok(strict::float(f64::from_bits(bits))),
            (kind, wire::Value::Bytes(bytes)) => self.delimited(of, field, kind, bytes, depth),
            (_, value) => Err(wrong_type(of, field, &value)),
        }
    }

    fn delimited(
        &mut self,
        of: Type,
        field: Field,
        kind: ValueKind,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, ProtoError> {
        let message = || field.message().ok_or_else(|| wrong_type(of, field, &wire::Value::Bytes(&[])));
        match kind {
            ValueKind::String => Ok(Value::from(text(bytes, field.name())?)),
            ValueKind::Bytes => Ok(Value::from(STANDARD.encode(bytes))),
            ValueKind::Message => self.message(message()?, bytes, depth + 1),
            ValueKind::Time | ValueKind::MicroTime => time(field, bytes),
            ValueKind::Quantity => quantity(field, bytes),
            ValueKind::IntOrString => int_or_string(field, bytes),
            ValueKind::RawExtension | ValueKind::FieldsV1 | ValueKind::Json => raw_json(field, bytes),
            ValueKind::StringList => strings(field, bytes, 1),
            ValueKind::SchemaOrBool | ValueKind::SchemaOrArray | ValueKind::SchemaOrStringArray => {
                self.schema_or(message()?, field, bytes, depth + 1)
            }
            ValueKind::Bool | ValueKind::Int32 | ValueKind::Int64 | ValueKind::Float64 => {
                Err(wrong_type(of, field, &wire::Value::Bytes(bytes)))
            }
        }
    }

    /// The unions in a CRD's schema: a schema, or a boolean, a list of schemas or a list of strings.
    fn schema_or(&mut self, of: Type, field: Field, bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
        let (schema_number, other_number) = if field.value_kind() == ValueKind::SchemaOrBool { (2, 1) } else { (1, 2) };
        let mut schema = None;
        let mut list = Vec::new();
        let mut allows = false;
        for part in fields(bytes) {
            match part? {
                (number, wire::Value::Bytes(bytes)) if number == schema_number => {
                    schema = Some(self.message(of, bytes, depth)?);
                }
                (number, wire::Value::Varint(set)) if number == other_number => allows = set != 0,
                (number, wire::Value::Bytes(bytes)) if number == other_number => {
                    list.push(if field.value_kind() == ValueKind::SchemaOrArray {
                        self.message(of, bytes, depth)?
                    } else {
                        Value::from(text(bytes, field.name())?)
                    });
                }
                _ => {}
            }
        }
        Ok(match (schema, field.value_kind()) {
            (_, ValueKind::SchemaOrArray | ValueKind::SchemaOrStringArray) if !list.is_empty() => Value::Array(list),
            (Some(schema), _) => schema,
            (None, ValueKind::SchemaOrBool) => Value::Bool(allows),
            (None, _) => Value::Null,
        })
    }
}

fn embedding(of: Type, (via, depth): Via, number: u8) -> Option<Via> {
    let mut inner = via;
    *inner.get_mut(depth)? = number;
    let is_there = of.fields().any(|f| f.via().get(..=depth) == inner.get(..=depth));
    is_there.then_some((inner, depth + 1))
}

fn list_of(out: &mut Map<String, Value>, field: Field) -> &mut Vec<Value> {
    let entry = out.entry(field.name()).or_insert_with(|| Value::Array(Vec::new()));
    if !entry.is_array() {
        *entry = Value::Array(Vec::new());
    }
    match entry {
        Value::Array(items) => items,
        _ => unreachable!("it was just made a list"),
    }
}

fn is_number(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Bool | ValueKind::Int32 | ValueKind::Int64)
}

fn wrong_type(of: Type, field: Field, value: &wire::Value<'_>) -> ProtoError {
    ProtoError::WireType { message: of.name(), field: field.name(), wire_type: value.wire_type() }
}

/// The low 32 bits, as protobuf reads an int32.
fn int32(number: u64) -> i32 {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    low.cast_signed()
}

fn time(field: Field, bytes: &[u8]) -> Result<Value, ProtoError> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in fields(bytes) {
        match part? {
            (1, wire::Value::Varint(number)) => seconds = number.cast_signed(),
            (2, wire::Value::Varint(number)) => nanos = int32(number),
            _ => {}
        }
    }
    // An empty message is Go's zero time.
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanos)
        .map_err(|_| ProtoError::Value { field: field.name(), what: "the time is out of range".to_owned() })?;
    Ok(Value::from(if field.value_kind() == ValueKind::MicroTime {
        strict::format_micro_time(time)
    } else {
        strict::format_time(time)
    }))
}

fn quantity(field: Field, bytes: &[u8]) -> Result<Value, ProtoError> {
    let mut source = "";
    for part in fields(bytes) {
        if let (1, wire::Value::Bytes(bytes)) = part? {
            source = text(bytes, field.name())?;
        }
    }
    if source.is_empty() {
        return Ok(Value::from("0"));
    }
    let quantity =
        Quantity::parse(source).map_err(|error| ProtoError::Value { field: field.name(), what: error.to_string() })?;
    Ok(Value::from(quantity.to_string()))
}

fn int_or_string(field: Field, bytes: &[u8]) -> Result<Value, ProtoError> {
    let (mut is_string, mut number, mut string) = (false, 0, "");
    for part in fields(bytes) {
        match part? {
            (1, wire::Value::Varint(kind)) => is_string = kind == 1,
            (2, wire::Value::Varint(value)) => number = int32(value),
            (3, wire::Value::Bytes(bytes)) => string = text(bytes, field.name())?,
            _ => {}
        }
    }
    Ok(if is_string { Value::from(string) } else { Value::from(number) })
}

fn raw_json(field: Field, bytes: &[u8]) -> Result<Value, ProtoError> {
    let mut raw: &[u8] = &[];
    for part in fields(bytes) {
        if let (1, wire::Value::Bytes(bytes)) = part? {
            raw = bytes;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw)
        .map_err(|error| ProtoError::Value { field: field.name(), what: format!("raw JSON: {error}") })
}

fn strings(field: Field, bytes: &[u8], number: u64) -> Result<Value, ProtoError> {
    let mut out = Vec::new();
    for part in fields(bytes) {
        match part? {
            (found, wire::Value::Bytes(bytes)) if found == number => out.push(Value::from(text(bytes, field.name())?)),
            _ => {}
        }
    }
    Ok(Value::Array(out))
}
