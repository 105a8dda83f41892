//! How values are owned: as a whole, or by their fields and items. One face for built-in types, custom schemas, and what has none.

use serde_json::Value;

use super::element::Element;
use crate::facts::{self, Field, ListType, Type, ValueKind};
use crate::schema::{self, Schema};

/// A place in a type.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// An object of a built-in type.
    Message(Type),
    /// The values of a field of a built-in type.
    Field(Field),
    /// One of the values of a field.
    One(Field),
    /// A custom object.
    Root(&'a Schema),
    /// A value inside a custom object; `is_open` if a schema around it keeps unknown fields.
    Custom { schema: &'a Schema, is_open: bool },
    /// A string.
    Text,
    /// Anything: what it is says the value.
    Any,
}

/// What a value at a place is, or should be.
pub(crate) enum Form<'a> {
    Scalar(Scalar),
    List(List<'a>),
    Map(Map<'a>),
}

/// Which scalars fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Number,
    Text,
    Bool,
    /// All of them.
    Any,
}

/// A list.
pub(crate) struct List<'a> {
    pub(crate) items: Place<'a>,
    relation: Relation<'a>,
}

/// How a list's items are found.
#[derive(Clone, Copy)]
enum Relation<'a> {
    /// Not at all: the list is one.
    Atomic,
    /// By what they are.
    Set,
    BuiltinKeys(Field),
    CustomKeys(&'a [Box<str>]),
}

/// An object.
pub(crate) struct Map<'a> {
    place: Place<'a>,
    /// Whether it is owned as a whole.
    pub(crate) is_atomic: bool,
}

/// What a map knows of a field.
pub(crate) struct Entry<'a> {
    pub(crate) place: Place<'a>,
    /// Whether the type names it, so that it is no key of somebody's choice.
    pub(crate) is_named: bool,
}

impl<'a> Place<'a> {
    /// The form of a value here. Where several fit, the value decides, and an object if it is `null`.
    pub(crate) fn form(self, value: Option<&Value>) -> Form<'a> {
        match self {
            Self::Message(of) => self.map(of.is_atomic()),
            Self::Field(field) => self.of_field(field, value),
            Self::One(field) => self.of_one(field, value),
            Self::Root(schema) => self.map(schema.is_map_atomic()),
            Self::Custom { schema, .. } => self.of_custom(schema, value),
            Self::Text => Form::Scalar(Scalar::Text),
            Self::Any => match value {
                Some(Value::Array(_)) => Form::List(List { items: Self::Any, relation: Relation::Atomic }),
                None | Some(Value::Object(_) | Value::Null) => self.map(false),
                Some(_) => Form::Scalar(Scalar::Any),
            },
        }
    }

    fn map(self, is_atomic: bool) -> Form<'a> {
        Form::Map(Map { place: self, is_atomic })
    }

    fn of_field(self, field: Field, value: Option<&Value>) -> Form<'a> {
        let items = Self::One(field);
        match field.shape() {
            facts::Shape::One => match items.form(value) {
                Form::Map(map) => Form::Map(Map { is_atomic: map.is_atomic || field.is_map_atomic(), ..map }),
                other => other,
            },
            facts::Shape::List => {
                let relation = match field.list_type() {
                    Some(ListType::Map) => Relation::BuiltinKeys(field),
                    Some(ListType::Set) => Relation::Set,
                    Some(ListType::Atomic) | None => Relation::Atomic,
                };
                Form::List(List { items, relation })
            }
            facts::Shape::Map => self.map(field.is_map_atomic()),
        }
    }

    fn of_one(self, field: Field, value: Option<&Value>) -> Form<'a> {
        match field.value_kind() {
            ValueKind::Message => field.message().map_or(Self::Any, Self::Message).form(value),
            ValueKind::Bool => Form::Scalar(Scalar::Bool),
            ValueKind::Int32 | ValueKind::Int64 | ValueKind::Float64 => Form::Scalar(Scalar::Number),
            ValueKind::String | ValueKind::Bytes | ValueKind::Time | ValueKind::MicroTime => Form::Scalar(Scalar::Text),
            ValueKind::Quantity | ValueKind::IntOrString => Form::Scalar(Scalar::Any),
            ValueKind::StringList => Form::List(List { items: Self::Text, relation: Relation::Atomic }),
            ValueKind::RawExtension
            | ValueKind::FieldsV1
            | ValueKind::Json
            | ValueKind::SchemaOrBool
            | ValueKind::SchemaOrArray
            | ValueKind::SchemaOrStringArray => Self::Any.form(value),
        }
    }

    fn of_custom(self, schema: &'a Schema, value: Option<&Value>) -> Form<'a> {
        let list = || {
            let relation = match schema.list_type() {
                schema::ListType::Atomic => Relation::Atomic,
                schema::ListType::Set => Relation::Set,
                schema::ListType::Map(keys) => Relation::CustomKeys(keys),
            };
            let items = schema.items().map_or(Self::Any, |items| self.inside(items));
            Form::List(List { items, relation })
        };
        match (schema.kind(), value) {
            (Some(schema::Type::Object), _) => self.map(schema.is_map_atomic()),
            (Some(schema::Type::Array), _) | (None, Some(Value::Array(_))) => list(),
            (Some(schema::Type::String), _) => Form::Scalar(Scalar::Text),
            (Some(schema::Type::Integer | schema::Type::Number), _) => Form::Scalar(Scalar::Number),
            (Some(schema::Type::Boolean), _) => Form::Scalar(Scalar::Bool),
            (None, None | Some(Value::Object(_) | Value::Null)) => self.map(schema.is_map_atomic()),
            (None, Some(_)) => Form::Scalar(Scalar::Any),
        }
    }

    /// The place of a schema inside this one's.
    fn inside(self, schema: &'a Schema) -> Self {
        Self::Custom { schema, is_open: self.is_open() || schema.keeps_unknown_fields() }
    }

    fn is_open(self) -> bool {
        match self {
            Self::Root(schema) => schema.keeps_unknown_fields(),
            Self::Custom { is_open, .. } => is_open,
            _ => false,
        }
    }
}

impl<'a> Map<'a> {
    /// What is known of a field, `None` if it may not be there.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry<'a>> {
        let named = |place| Entry { place, is_named: true };
        let other = |place| Some(Entry { place, is_named: false });
        match self.place {
            Place::Message(of) => of.field(name).map(|field| named(Place::Field(field))),
            Place::One(field) => match field.message() {
                Some(of) => of.field(name).map(|field| named(Place::Field(field))),
                None => other(Place::Any),
            },
            Place::Field(field) => other(Place::One(field)),
            Place::Root(schema) => match (name, facts::object_meta()) {
                ("apiVersion" | "kind", _) => Some(named(Place::Text)),
                ("metadata", Some(of)) => Some(named(Place::Message(of))),
                _ => self.custom(schema, name),
            },
            Place::Custom { schema, .. } => match (schema.is_embedded_resource(), name, facts::object_meta()) {
                (true, "apiVersion" | "kind", _) => Some(named(Place::Text)),
                (true, "metadata", Some(of)) => Some(named(Place::Message(of))),
                _ => self.custom(schema, name),
            },
            Place::Text | Place::Any => other(Place::Any),
        }
    }

    fn custom(&self, schema: &'a Schema, name: &str) -> Option<Entry<'a>> {
        if let Some(property) = schema.property(name) {
            return Some(Entry { place: self.place.inside(property), is_named: true });
        }
        let place = match schema.additional() {
            Some(additional) => self.place.inside(additional),
            None if self.place.is_open() || schema.takes_any_field() => Place::Any,
            None => return None,
        };
        Some(Entry { place, is_named: false })
    }
}

impl<'a> List<'a> {
    /// Whether the list is owned as a whole.
    pub(crate) fn is_atomic(&self) -> bool {
        matches!(self.relation, Relation::Atomic)
    }

    /// The element by which an item is found.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn element(&self, item: &Value) -> Result<Element, String> {
        match self.relation {
            Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            Relation::Set => match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(Element::Item(scalar.clone())),
            },
            Relation::BuiltinKeys(field) => {
                let of = field.message();
                let default = |name: &str| {
                    let text = of.and_then(|of| of.field(name)).and_then(Field::default_json)?;
                    serde_json::from_str(text).ok()
                };
                keys(item, field.list_map_keys(), default)
            }
            Relation::CustomKeys(names) => {
                let schema = match self.items {
                    Place::Custom { schema, .. } => Some(schema),
                    _ => None,
                };
                let default = |name: &str| schema.and_then(|schema| schema.property(name)?.default_value()).cloned();
                keys(item, names.iter().map(AsRef::as_ref), default)
            }
        }
    }
}

fn keys<'n>(
    item: &Value,
    names: impl Iterator<Item = &'n str> + Clone,
    default: impl Fn(&str) -> Option<Value>,
) -> Result<Element, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let value = |name: &str| fields.get(name).cloned().or_else(|| default(name));
    let keys: Vec<(Box<str>, Value)> = names.clone().filter_map(|name| Some((name.into(), value(name)?))).collect();
    if keys.is_empty() {
        let names: Vec<String> = names.map(crate::field_error::quote).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] \
             (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    Ok(Element::key(keys))
}
