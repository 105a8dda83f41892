//! The decoder itself: serde seeds that know which type comes next.
//!
//! A seed never fails on a value that does not fit: it notes that at the cursor, skips the value and goes on, as Go
//! does; only broken syntax ends the pass.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    cursor::{Cursor, Segment},
    leaf::{self, Got},
    words::{Found, Kind, Wanted},
};
use crate::facts::{self, Field, Shape, Type, ValueKind, canonical};

/// An object of a built-in type, at the root of a body or inside it.
pub(super) struct Message<'c> {
    pub(super) of: Type,
    pub(super) cursor: &'c mut Cursor,
}

/// A custom object.
pub(super) struct Custom<'c> {
    pub(super) cursor: &'c mut Cursor,
}

/// JSON without a type.
pub(super) struct Untyped<'c> {
    pub(super) cursor: &'c mut Cursor,
}

/// The value of a field: one, a list or a map.
struct Whole<'c> {
    field: Field,
    cursor: &'c mut Cursor,
}

/// One value of a field, alone or in a list or map.
struct Item<'c> {
    field: Field,
    cursor: &'c mut Cursor,
}

/// The list of a field.
struct Items<'c> {
    field: Field,
    cursor: &'c mut Cursor,
}

/// The map of a field.
struct Entries<'c> {
    field: Field,
    cursor: &'c mut Cursor,
}

/// Gives a type the seed's plumbing: whatever comes is shown to `Visitor`.
macro_rules! seed {
    ($name:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = Value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

seed!(Message);
seed!(Custom);
seed!(Untyped);
seed!(Items);
seed!(Entries);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Self { field, cursor } = self;
        match field.shape() {
            Shape::One => Item { field, cursor }.deserialize(deserializer),
            Shape::List => Items { field, cursor }.deserialize(deserializer),
            Shape::Map => Entries { field, cursor }.deserialize(deserializer),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.field.value_kind() {
            ValueKind::RawExtension | ValueKind::FieldsV1 | ValueKind::Json => {
                serde::Deserialize::deserialize(deserializer)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

/// The visitor methods for scalars, each handing a [`Got`] to `self.scalar`.
macro_rules! scalars {
    () => {
        fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
            Ok(self.scalar(&Got::Bool(value)))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
            Ok(self.scalar(&Got::Int(value)))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
            Ok(self.scalar(&i64::try_from(value).map_or(Got::Unsigned(value), Got::Int)))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
            Ok(self.scalar(&Got::Float(value)))
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
            Ok(self.scalar(&Got::Str(value)))
        }

        fn visit_unit<E: Error>(self) -> Result<Value, E> {
            Ok(self.null())
        }

        fn visit_none<E: Error>(self) -> Result<Value, E> {
            Ok(self.null())
        }

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }
    };
}

fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl Message<'_> {
    fn wanted(&self) -> Wanted<'static> {
        Wanted { name: self.of.go_name(), kind: Kind::Struct }
    }

    fn scalar(self, got: &Got<'_>) -> Value {
        let wanted = self.wanted();
        self.cursor.mismatch(&got.found(), wanted);
        Value::Null
    }

    fn null(self) -> Value {
        canonical::zero_message(self.of)
    }
}

/// The name of a field: one that the type has, or another.
enum Name {
    Known(Field),
    Unknown(String),
}

struct NameSeed(Type);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(self.0.field(name).map_or_else(|| Name::Unknown(name.to_owned()), Name::Known))
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        let wanted = self.wanted();
        self.cursor.mismatch(&Found::List, wanted);
        skip_list(list)?;
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { of, cursor } = self;
        let mut out = Map::new();
        let mut seen_null = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed(of))? {
            let field = match name {
                Name::Known(field) => field,
                Name::Unknown(name) => {
                    cursor.unknown(&name);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if out.contains_key(field.name()) || seen_null.contains(&field.name()) {
                cursor.duplicate(field.name());
            }
            cursor.push(Segment::Field(of, field))?;
            let value = map.next_value_seed(Whole { field, cursor: &mut *cursor })?;
            cursor.pop();
            if value.is_null() {
                seen_null.push(field.name());
            } else {
                out.insert(field.name().to_owned(), value);
            }
        }
        canonical::finish(of, &mut out);
        Ok(Value::Object(out))
    }
}

impl Item<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        leaf::scalar(self.field, got, self.cursor)
    }

    fn null(self) -> Value {
        Value::Null
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Self { field, cursor } = self;
        let has_lists = matches!(
            field.value_kind(),
            ValueKind::StringList | ValueKind::SchemaOrArray | ValueKind::SchemaOrStringArray
        );
        if !has_lists {
            cursor.mismatch(&Found::List, leaf::wanted(field));
            skip_list(list)?;
            return Ok(Value::Null);
        }
        let mut out = Vec::new();
        match field.message().filter(|_| field.value_kind() == ValueKind::SchemaOrArray) {
            Some(of) => {
                while let Some(item) = list.next_element_seed(Message { of, cursor: &mut *cursor })? {
                    out.push(item);
                }
            }
            None => {
                while let Some(text) = list.next_element_seed(Text { cursor: &mut *cursor })? {
                    out.push(text);
                }
            }
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let Self { field, cursor } = self;
        match field.message() {
            Some(of) => Message { of, cursor }.visit_map(map),
            None => {
                skip_map(map)?;
                object_mismatch(field, cursor);
                Ok(Value::Null)
            }
        }
    }
}

/// Notes an object where a scalar should be; a quantity's reader sees its text instead.
fn object_mismatch(field: Field, cursor: &mut Cursor) {
    if field.value_kind() == ValueKind::Quantity {
        leaf::scalar(field, &Got::Str("{}"), cursor);
    } else {
        cursor.mismatch(&Found::Object, leaf::wanted(field));
    }
}

/// Of what stands in such a list.
const A_STRING: Wanted<'static> = Wanted { name: "string", kind: Kind::Own };
/// What a custom object is.
const A_MAP: Wanted<'static> = Wanted { name: "map[string]interface {}", kind: Kind::Map };

/// A string in a list that is a value of its own.
struct Text<'c> {
    cursor: &'c mut Cursor,
}

seed!(Text);

impl Text<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        if let Got::Str(text) = got {
            return Value::from(*text);
        }
        self.cursor.mismatch(&got.found(), A_STRING);
        Value::from("")
    }

    fn null(self) -> Value {
        Value::from("")
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        self.cursor.mismatch(&Found::List, A_STRING);
        skip_list(list)?;
        Ok(Value::from(""))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.cursor.mismatch(&Found::Object, A_STRING);
        skip_map(map)?;
        Ok(Value::from(""))
    }
}

impl Items<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        self.cursor.mismatch(&got.found(), Wanted { name: self.field.go_type(), kind: Kind::Slice });
        Value::Null
    }

    fn null(self) -> Value {
        Value::Null
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Self { field, cursor } = self;
        let mut out = Vec::new();
        loop {
            cursor.push(Segment::Index(out.len()))?;
            let item = list.next_element_seed(Item { field, cursor: &mut *cursor })?;
            cursor.pop();
            match item {
                Some(Value::Null) => out.push(canonical::zero_item(field)),
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.cursor.mismatch(&Found::Object, Wanted { name: self.field.go_type(), kind: Kind::Slice });
        skip_map(map)?;
        Ok(Value::Null)
    }
}

impl Entries<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        self.cursor.mismatch(&got.found(), Wanted { name: self.field.go_type(), kind: Kind::Map });
        Value::Null
    }

    fn null(self) -> Value {
        Value::Null
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        self.cursor.mismatch(&Found::List, Wanted { name: self.field.go_type(), kind: Kind::Map });
        skip_list(list)?;
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { field, cursor } = self;
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                cursor.duplicate(&key);
            }
            cursor.push(Segment::Key(key))?;
            let value = map.next_value_seed(Item { field, cursor: &mut *cursor })?;
            let Some(Segment::Key(key)) = cursor.pop() else { continue };
            out.insert(key, if value.is_null() { canonical::zero_item(field) } else { value });
        }
        Ok(Value::Object(out))
    }
}

impl Untyped<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        match got {
            Got::Bool(value) => Value::Bool(*value),
            Got::Int(number) => Value::from(*number),
            // Go has no such integer, and reads a float.
            Got::Unsigned(number) => leaf::float(*number as f64),
            Got::Float(number) => leaf::float(*number),
            Got::Str(text) => Value::from(*text),
        }
    }

    fn null(self) -> Value {
        Value::Null
    }
}

impl<'de> Visitor<'de> for Untyped<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            self.cursor.push(Segment::Index(out.len()))?;
            let item = list.next_element_seed(Untyped { cursor: &mut *self.cursor })?;
            self.cursor.pop();
            match item {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        untyped_map(map, self.cursor, None)
    }
}

impl Custom<'_> {
    fn scalar(self, got: &Got<'_>) -> Value {
        self.cursor.mismatch(&got.found(), A_MAP);
        Value::Null
    }

    fn null(self) -> Value {
        Value::Null
    }
}

impl<'de> Visitor<'de> for Custom<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        self.cursor.mismatch(&Found::List, A_MAP);
        skip_list(list)?;
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        // Every stored kind has its metadata at the same place; a ConfigMap's stands for a custom object's.
        let metadata = facts::type_of_kind("", "v1", "ConfigMap").and_then(|of| of.field("metadata"));
        untyped_map(map, self.cursor, metadata)
    }
}

/// The entries of an object without a type, but for `metadata` if its field is given.
fn untyped_map<'de, A: MapAccess<'de>>(
    mut map: A,
    cursor: &mut Cursor,
    metadata: Option<Field>,
) -> Result<Value, A::Error> {
    let mut out = Map::new();
    while let Some(key) = map.next_key::<String>()? {
        if out.contains_key(&key) {
            cursor.duplicate(&key);
        }
        let typed = metadata.filter(|field| field.name() == key);
        cursor.push(Segment::Key(key))?;
        let value = match typed {
            Some(field) => map.next_value_seed(Whole { field, cursor: &mut *cursor })?,
            None => map.next_value_seed(Untyped { cursor: &mut *cursor })?,
        };
        let Some(Segment::Key(key)) = cursor.pop() else { continue };
        out.insert(key, value);
    }
    Ok(Value::Object(out))
}
