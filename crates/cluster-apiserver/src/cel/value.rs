//! Values while an expression is evaluated. Objects and lists of the object that is looked at stay where they are.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::keys::Key;
use super::library::authz::{Check, Step};
use super::library::{net, semver::Semver, time};
use super::types::{
    AUTHORIZER, CIDR, DECISION, FORMAT, GROUP_CHECK, IP, PATH_CHECK, QUANTITY, RESOURCE_CHECK, SEMVER, URL, anything,
    field, is_anything,
};
use crate::quantity::Quantity;
use crate::schema::{ListType, Schema, Type as JsonType};

/// A text of the object, or one that came about.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}

#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    /// In nanoseconds, as Go has it.
    Duration(i64),
    Timestamp(Timestamp),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<BTreeMap<Key<'a>, Val<'a>>>),
    /// An array or an object, with its schema; `true` for a resource.
    Json(&'a Json, &'a Schema, bool),
    Optional(Option<Rc<Val<'a>>>),
    Type(&'static str),
    Quantity(Rc<Quantity>),
    Semver(Rc<Semver>),
    Url(Rc<net::Url>),
    Ip(IpAddr),
    Cidr(net::Cidr),
    Format(&'static str),
    /// A question of what somebody may do.
    Check(Rc<Check>),
    /// Whether they may.
    Decision(bool),
}

impl<'a> Val<'a> {
    /// A value of an object, as its schema says.
    pub(super) fn of(json: &'a Json, schema: &'a Schema, is_resource: bool) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) if schema.kind() == Some(JsonType::Number) => {
                Self::Double(number.as_f64().unwrap_or_default())
            }
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) if schema.kind() == Some(JsonType::String) => Self::formatted(text, schema),
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            // Where a number or a text is expected and something else is, nothing is known of it.
            Json::Array(_) | Json::Object(_) if schema.is_int_or_string() => Self::Json(json, anything(), false),
            Json::Array(_) | Json::Object(_) => Self::Json(json, schema, is_resource),
        }
    }

    fn formatted(text: &'a str, schema: &Schema) -> Self {
        let value = match schema.format().unwrap_or_default() {
            "byte" => crate::schema::base64(text).map(|bytes| Self::Bytes(bytes.into())),
            "duration" => crate::schema::duration(text).map(Self::Duration),
            "date" => time::parse_date(text).map(Self::Timestamp),
            "date-time" => text.parse().ok().map(Self::Timestamp),
            _ => None,
        };
        value.unwrap_or(Self::Text(Text::Borrowed(text)))
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Json(Json::Array(_), ..))
    }

    /// Whether it is a map or an object.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Json(Json::Object(_), ..))
    }

    /// The elements of a list; `None` for what is none.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.to_vec()),
            Self::Json(Json::Array(items), schema, _) => {
                let schema = items_of(schema)?;
                Some(items.iter().map(|item| Self::of(item, schema, schema.is_embedded_resource())).collect())
            }
            _ => None,
        }
    }

    /// The keys and values of a map or an object, in the order of their keys.
    pub(super) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.iter().map(|(key, value)| (key.value(), value.clone())).collect()),
            Self::Json(Json::Object(fields), ..) => {
                let key = |name: &'a str| Self::Text(Text::Borrowed(name));
                Some(fields.keys().filter_map(|name| Some((key(name), self.field_of(name)?))).collect())
            }
            _ => None,
        }
    }

    /// How many elements, entries or characters it has.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Json(Json::Array(items), ..) => items.len(),
            Self::Json(Json::Object(fields), ..) => fields.len(),
            _ => return None,
        })
    }

    pub(super) fn at(&self, index: usize) -> Option<Self> {
        match self {
            Self::List(items) => items.get(index).cloned(),
            Self::Json(Json::Array(items), schema, _) => {
                let schema = items_of(schema)?;
                items.get(index).map(|item| Self::of(item, schema, schema.is_embedded_resource()))
            }
            _ => None,
        }
    }

    /// A field of an object by its name in expressions, or the value of a map's key.
    pub(super) fn select(&self, name: &str) -> Option<Self> {
        match self {
            Self::Json(..) => self.selected(name).map(of_field),
            Self::Map(entries) => entries.get(&Key::Text(Text::Shared(name.into()))).cloned(),
            _ => None,
        }
    }

    /// Whether [`Val::select`] finds something; nothing is read for that.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Json(..) => self.selected(name).is_some(),
            Self::Map(entries) => entries.contains_key(&Key::Text(Text::Shared(name.into()))),
            _ => false,
        }
    }

    /// The value of a key, for which a number is as good as another of its value.
    pub(super) fn value_of(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::Json(..), Self::Text(name)) => self.field_of(name),
            (Self::Map(entries), key) => entries.get(&Key::sought(key)?).cloned(),
            _ => None,
        }
    }

    /// Whether a key has a value.
    pub(super) fn has_key(&self, key: &Self) -> bool {
        match (self, key) {
            (Self::Json(..), Self::Text(name)) => self.property(name).is_some(),
            (Self::Map(entries), key) => Key::sought(key).is_some_and(|key| entries.contains_key(&key)),
            _ => false,
        }
    }

    /// A property, or a value of a map, by its name in the object.
    pub(super) fn field_of(&self, name: &str) -> Option<Self> {
        self.property(name).map(of_field)
    }

    fn selected(&self, name: &str) -> Option<(&'a Json, &'a Schema)> {
        match self {
            Self::Json(Json::Object(_), schema, is_resource)
                if !is_anything(schema) && (schema.additional().is_none() || *is_resource) =>
            {
                let (_, property) = field(schema, *is_resource, name)?;
                self.property(&property)
            }
            _ => self.property(name),
        }
    }

    /// A field of an object where it stands, with its schema.
    fn property(&self, name: &str) -> Option<(&'a Json, &'a Schema)> {
        let Self::Json(Json::Object(fields), schema, is_resource) = self else { return None };
        let value = fields.get(name)?;
        let schema = match schema.property(name).or(schema.additional()) {
            Some(schema) => schema,
            None if is_anything(schema) => anything(),
            None => field(schema, *is_resource, name)?.0,
        };
        Some((value, schema))
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) | Self::Json(Json::Array(_), ..) => "list",
            Self::Map(_) => "map",
            Self::Json(_, schema, _) if schema.additional().is_some() || is_anything(schema) => "map",
            Self::Json(..) => "object",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => QUANTITY,
            Self::Semver(_) => SEMVER,
            Self::Url(_) => URL,
            Self::Ip(_) => IP,
            Self::Cidr(_) => CIDR,
            Self::Format(_) => FORMAT,
            Self::Decision(_) => DECISION,
            Self::Check(check) => match check.of {
                Step::Whatever => AUTHORIZER,
                Step::Path => PATH_CHECK,
                Step::Group => GROUP_CHECK,
                Step::Resource => RESOURCE_CHECK,
            },
        }
    }

    /// Whether it is what its type is without being set.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::Optional(value) => value.is_none(),
            Self::Text(text) => text.is_empty(),
            other => other.size() == Some(0),
        }
    }

    /// How many values it consists of, down to a depth and at most `limit`: what it costs to walk through it.
    pub(super) fn weight(&self, limit: usize, depth: usize) -> usize {
        match self {
            Self::Text(text) => 1 + text.len() / 10,
            Self::Bytes(bytes) => 1 + bytes.len() / 10,
            Self::Json(json, ..) => json_weight(json, limit, depth),
            Self::List(items) if depth == 0 => 1 + items.len(),
            Self::Map(entries) if depth == 0 => 1 + entries.len(),
            Self::List(items) => sum(limit, items.iter(), |item, limit| item.weight(limit, depth - 1)),
            Self::Map(entries) => sum(limit, entries.iter(), |(key, value), limit| {
                let key = if let Key::Text(text) = key { text.len() / 10 } else { 0 };
                key + 1 + value.weight(limit, depth - 1)
            }),
            Self::Optional(Some(value)) => 1 + value.weight(limit, depth),
            _ => 1,
        }
    }

    /// What it has cost to decode it.
    pub(super) fn decoding(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len() / 10,
            Self::Optional(Some(value)) => value.decoding(),
            _ => 0,
        }
    }

    /// The order of two values that have one.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) | (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(_), _) | (_, Self::Double(_)) => self.as_f64()?.partial_cmp(&other.as_f64()?),
            (Self::Text(a), Self::Text(b)) => Some(a.deref().cmp(b.deref())),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => a.partial_cmp(b),
            (Self::Semver(a), Self::Semver(b)) => Some(a.precedence(b)),
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a comparison with a double is one of doubles")]
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The schema of a list whose items have an identity.
    pub(super) fn keyed_list(&self) -> Option<&'a ListType> {
        match self {
            Self::Json(Json::Array(_), schema, _) if !matches!(schema.list_type(), ListType::Atomic) => {
                Some(schema.list_type())
            }
            _ => None,
        }
    }
}

fn items_of(schema: &Schema) -> Option<&Schema> {
    schema.items().or_else(|| is_anything(schema).then(anything))
}

fn of_field<'a>((json, schema): (&'a Json, &'a Schema)) -> Val<'a> {
    Val::of(json, schema, schema.is_embedded_resource())
}

/// One more than the weights of all, which ends at the limit.
fn sum<T>(limit: usize, items: impl Iterator<Item = T>, weight: impl Fn(T, usize) -> usize) -> usize {
    let mut total = 1;
    for item in items {
        if total >= limit {
            break;
        }
        total += weight(item, limit - total);
    }
    total
}

fn json_weight(json: &Json, limit: usize, depth: usize) -> usize {
    let below = |item: &Json, limit: usize| json_weight(item, limit, depth - 1);
    match json {
        Json::String(text) => 1 + text.len() / 10,
        Json::Array(items) if depth == 0 => 1 + items.len(),
        Json::Object(fields) if depth == 0 => 1 + fields.len(),
        Json::Array(items) => sum(limit, items.iter(), below),
        Json::Object(fields) => sum(limit, fields.iter(), |(name, value), limit| name.len() / 10 + below(value, limit)),
        _ => 1,
    }
}
