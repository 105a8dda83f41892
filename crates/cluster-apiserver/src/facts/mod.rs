//! What the server knows about the fields of built-in types.
//!
//! One committed table (`data/kube-facts.bin`, written by `tools/kube-facts`) says for every type reachable from a
//! served kind which fields it has: JSON name, protobuf number, pointer or value, patch strategy, list and map type,
//! default, enumeration. Everything that must understand a body without code per kind reads it: the decoders
//! ([`crate::strict`], [`crate::proto`]), the strategic merge patch, the OpenAPI documents.
//!
//! The table is part of the binary and is read in place: [`Type`] and [`Field`] are indexes into it, copying one is
//! free, nothing is built at start and nothing is on the heap.
//!
//! Custom kinds are not in it: they bring a schema of their own.

pub mod canonical;
mod table;

pub use table::digest;

/// A type of the table: a kind, or a message inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Type(u16);

/// A JSON field of a [`Type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(u16);

/// What one value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `true` or `false`.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A number.
    Float64,
    /// A string.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// A time, RFC 3339 with whole seconds.
    Time,
    /// A time, RFC 3339 with six digits of fraction.
    MicroTime,
    /// A quantity such as `500m`.
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// Any JSON.
    RawExtension,
    /// Any JSON: the fields of a managedFields entry.
    FieldsV1,
    /// Any JSON: a default, an example or an enumerated value in a CRD's schema.
    Json,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of them.
    SchemaOrArray,
    /// A schema or a list of strings.
    SchemaOrStringArray,
    /// A message with fields.
    Message,
    /// A list of strings that is a message of its own in protobuf.
    StringList,
}

/// How many values a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// A list.
    List,
    /// A map with string keys.
    Map,
}

/// How a list is owned and merged by server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// As a whole.
    Atomic,
    /// By value.
    Set,
    /// By the keys of its items.
    Map,
}

mod flag {
    pub(super) const POINTER: u16 = 1 << 0;
    pub(super) const OMIT_EMPTY: u16 = 1 << 1;
    pub(super) const OMIT_ZERO: u16 = 1 << 2;
    pub(super) const REQUIRED: u16 = 1 << 3;
    pub(super) const TYPE_META: u16 = 1 << 4;
    pub(super) const LIST_ATOMIC: u16 = 1 << 5;
    pub(super) const LIST_SET: u16 = 1 << 6;
    pub(super) const LIST_MAP: u16 = 1 << 7;
    pub(super) const MAP_ATOMIC: u16 = 1 << 8;
    pub(super) const PATCH_MERGE: u16 = 1 << 9;
    pub(super) const PATCH_REPLACE: u16 = 1 << 10;
    pub(super) const PATCH_RETAIN_KEYS: u16 = 1 << 11;
}

/// The type of a kind.
pub fn type_of_kind(group: &str, version: &str, kind: &str) -> Option<Type> {
    table::find_kind(group, version, kind).map(Type)
}

/// The type of `metadata`.
pub fn object_meta() -> Option<Type> {
    type_named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
}

/// The type with this OpenAPI name, such as `io.k8s.api.core.v1.PodSpec`.
pub fn type_named(name: &str) -> Option<Type> {
    table::find_type(name).map(Type)
}

/// Every type, by name.
pub fn types() -> impl Iterator<Item = Type> {
    (0..table::type_count()).map(Type)
}

/// Every kind of the table: group, version, kind, type.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str, Type)> {
    (0..table::kind_count()).map(|index| {
        let [group, version, kind, of] = table::kind(index);
        (table::string(group), table::string(version), table::string(kind), Type(of))
    })
}

impl Type {
    /// The OpenAPI name.
    pub fn name(self) -> &'static str {
        table::string(table::type_word(self.0, 0))
    }

    /// The name in Go's error messages with its package, such as `v1.PodSpec`.
    pub fn go_name(self) -> &'static str {
        table::string(table::type_word(self.0, 1))
    }

    /// The name in Go's error messages without its package.
    pub fn go_struct_name(self) -> &'static str {
        let name = self.go_name();
        name.split_once('.').map_or(name, |(_, name)| name)
    }

    /// Whether server-side apply owns values of this type as a whole.
    pub fn is_atomic(self) -> bool {
        table::type_word(self.0, 4) & 1 != 0
    }

    /// The JSON fields, by name.
    pub fn fields(self) -> impl Iterator<Item = Field> + Clone {
        let first = table::type_word(self.0, 2);
        (first..first.saturating_add(table::type_word(self.0, 3))).map(Field)
    }

    /// The JSON field of this name; names are case sensitive.
    pub fn field(self, name: &str) -> Option<Field> {
        let first = table::type_word(self.0, 2);
        let count = table::type_word(self.0, 3);
        let (mut low, mut high) = (first, first.saturating_add(count));
        while low < high {
            let middle = low + (high - low) / 2;
            match Field(middle).name().cmp(name) {
                std::cmp::Ordering::Equal => return Some(Field(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Whether values of this type are kinds' bodies, with `apiVersion` and `kind`.
    pub fn has_type_meta(self) -> bool {
        self.field("kind").is_some_and(Field::is_type_meta)
    }
}

impl Field {
    /// The JSON name.
    pub fn name(self) -> &'static str {
        table::string(table::field_word(self.0, 0))
    }

    /// The protobuf number, 0 for a field that protobuf does not carry.
    pub fn number(self) -> u8 {
        table::field_byte(self.0, 2)
    }

    /// The protobuf numbers of the messages that embed this field, outermost first, 0 where there is none.
    pub fn via(self) -> [u8; 2] {
        [table::field_byte(self.0, 3), table::field_byte(self.0, 4)]
    }

    /// How many values the field holds.
    pub fn shape(self) -> Shape {
        match table::field_byte(self.0, 5) >> 6 {
            0 => Shape::One,
            1 => Shape::List,
            _ => Shape::Map,
        }
    }

    /// What one value is.
    pub fn value_kind(self) -> ValueKind {
        match table::field_byte(self.0, 5) & 0x3f {
            1 => ValueKind::Bool,
            2 => ValueKind::Int32,
            3 => ValueKind::Int64,
            4 => ValueKind::Float64,
            6 => ValueKind::Bytes,
            7 => ValueKind::Time,
            8 => ValueKind::MicroTime,
            9 => ValueKind::Quantity,
            10 => ValueKind::IntOrString,
            11 => ValueKind::RawExtension,
            12 => ValueKind::FieldsV1,
            13 => ValueKind::Json,
            14 => ValueKind::SchemaOrBool,
            15 => ValueKind::SchemaOrArray,
            16 => ValueKind::SchemaOrStringArray,
            17 => ValueKind::Message,
            18 => ValueKind::StringList,
            _ => ValueKind::String,
        }
    }

    /// The type of one value, if it is a message or (for a CRD's unions) may be one.
    pub fn message(self) -> Option<Type> {
        let index = table::field_word(self.0, 6);
        (index < table::type_count()).then_some(Type(index))
    }

    /// The Go type in error messages, such as `map[string]string`.
    pub fn go_type(self) -> &'static str {
        table::string(table::field_word(self.0, 10))
    }

    /// The name in Go's error messages: the JSON name after the names of embedding fields.
    pub fn embedded_in(self) -> &'static str {
        table::string(table::field_word(self.0, 20))
    }

    fn has(self, flag: u16) -> bool {
        table::field_word(self.0, 8) & flag != 0
    }

    /// Whether "not set" and the zero value differ.
    pub fn is_pointer(self) -> bool {
        self.has(flag::POINTER)
    }

    /// Whether an empty value is left out (Go's rule: structs are never empty).
    pub fn omits_empty(self) -> bool {
        self.has(flag::OMIT_EMPTY)
    }

    /// Whether a zero value is left out, structs included.
    pub fn omits_zero(self) -> bool {
        self.has(flag::OMIT_ZERO)
    }

    /// Whether the OpenAPI documents require it.
    pub fn is_required(self) -> bool {
        self.has(flag::REQUIRED)
    }

    /// Whether it is `apiVersion` or `kind` of an object.
    pub fn is_type_meta(self) -> bool {
        self.has(flag::TYPE_META)
    }

    /// How server-side apply treats the list.
    pub fn list_type(self) -> Option<ListType> {
        if self.has(flag::LIST_MAP) {
            Some(ListType::Map)
        } else if self.has(flag::LIST_SET) {
            Some(ListType::Set)
        } else {
            self.has(flag::LIST_ATOMIC).then_some(ListType::Atomic)
        }
    }

    /// The keys of a list of [`ListType::Map`].
    pub fn list_map_keys(self) -> impl Iterator<Item = &'static str> + Clone {
        table::string(table::field_word(self.0, 14)).split(',').filter(|key| !key.is_empty())
    }

    /// Whether server-side apply owns the map as a whole.
    pub fn is_map_atomic(self) -> bool {
        self.has(flag::MAP_ATOMIC)
    }

    /// Whether a strategic patch merges the list instead of replacing it.
    pub fn patch_merges(self) -> bool {
        self.has(flag::PATCH_MERGE)
    }

    /// Whether a strategic patch replaces the map instead of merging it.
    pub fn patch_replaces(self) -> bool {
        self.has(flag::PATCH_REPLACE)
    }

    /// Whether a strategic patch may say `$retainKeys`.
    pub fn patch_retains_keys(self) -> bool {
        self.has(flag::PATCH_RETAIN_KEYS)
    }

    /// The key by which a strategic patch finds the items of a list.
    pub fn patch_merge_key(self) -> Option<&'static str> {
        Some(table::string(table::field_word(self.0, 12))).filter(|key| !key.is_empty())
    }

    /// The default in the OpenAPI documents, as JSON text.
    pub fn default_json(self) -> Option<&'static str> {
        Some(table::string(table::field_word(self.0, 16))).filter(|text| !text.is_empty())
    }

    /// The allowed values, as the text of a JSON list.
    pub fn enum_json(self) -> Option<&'static str> {
        Some(table::string(table::field_word(self.0, 18))).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests;
