//! Values while an expression is evaluated. Objects and lists of the object that is looked at stay where they are.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::library::{net, semver::Semver, time};
use super::types::{CIDR, FORMAT, IP, QUANTITY, SEMVER, URL, field};
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
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
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
            Json::Array(_) | Json::Object(_) => Self::Json(json, schema, is_resource),
        }
    }

    fn formatted(text: &'a str, schema: &Schema) -> Self {
        let value = match schema.format().unwrap_or_default() {
            "byte" => net::base64(text).map(|bytes| Self::Bytes(bytes.into())),
            "duration" => time::parse_duration(text).map(Self::Duration),
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

    /// The elements of a list; `None` for what is none.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.to_vec()),
            Self::Json(Json::Array(items), schema, _) => {
                let schema = schema.items()?;
                Some(items.iter().map(|item| Self::of(item, schema, schema.is_embedded_resource())).collect())
            }
            _ => None,
        }
    }

    /// The keys and values of a map or an object, in the order of their keys.
    pub(super) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.to_vec()),
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
                let schema = schema.items()?;
                items.get(index).map(|item| Self::of(item, schema, schema.is_embedded_resource()))
            }
            _ => None,
        }
    }

    /// A field of an object by its name in expressions, or the value of a map's key.
    pub(super) fn select(&self, name: &str) -> Option<Self> {
        match self {
            Self::Json(Json::Object(_), schema, is_resource) if schema.additional().is_none() || *is_resource => {
                let (_, property) = field(schema, *is_resource, name)?;
                self.field_of(&property)
            }
            Self::Json(..) => self.field_of(name),
            Self::Map(entries) => {
                let is_it = |key: &Self| matches!(key, Self::Text(text) if text.deref() == name);
                entries.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// A property, or a value of a map, by its name in the object.
    pub(super) fn field_of(&self, name: &str) -> Option<Self> {
        let Self::Json(Json::Object(fields), schema, is_resource) = self else { return None };
        let value = fields.get(name)?;
        let schema = match schema.property(name).or(schema.additional()) {
            Some(schema) => schema,
            None => field(schema, *is_resource, name)?.0,
        };
        Some(Self::of(value, schema, schema.is_embedded_resource()))
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
            Self::Json(_, schema, _) if schema.additional().is_some() => "map",
            Self::Json(..) => "object",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => QUANTITY,
            Self::Semver(_) => SEMVER,
            Self::Url(_) => URL,
            Self::Ip(_) => IP,
            Self::Cidr(_) => CIDR,
            Self::Format(_) => FORMAT,
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
            other => other.size() == Some(0),
        }
    }

    /// How many values it consists of, at most `limit`: what it costs to walk through it.
    pub(super) fn weight(&self, limit: usize) -> usize {
        match self {
            Self::Text(text) => 1 + text.len() / 10,
            Self::Bytes(bytes) => 1 + bytes.len() / 10,
            Self::Json(json, ..) => json_weight(json, limit),
            Self::List(items) => weights(items.iter(), limit),
            Self::Map(entries) => weights(entries.iter().flat_map(|(key, value)| [key, value]), limit),
            Self::Optional(Some(value)) => 1 + value.weight(limit),
            _ => 1,
        }
    }

    /// CEL's equality: numbers by value, lists by order (sets do not mind it), maps by keys.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a.deref() == b.deref(),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Type(a), Self::Type(b)) | (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            _ => match (self.items(), other.items(), self.entries(), other.entries()) {
                (Some(a), Some(b), ..) => lists_equal(self, &a, &b),
                (_, _, Some(a), Some(b)) => {
                    a.len() == b.len() && a.iter().all(|(key, value)| other.has_entry(&b, key, value))
                }
                _ => self.compare(other) == Some(Ordering::Equal),
            },
        }
    }

    /// Whether a key has a value; `entries` are those of this map or object.
    fn has_entry(&self, entries: &[(Self, Self)], key: &Self, value: &Self) -> bool {
        match (self, key) {
            (Self::Json(..), Self::Text(name)) => self.field_of(name).is_some_and(|its| its.equals(value)),
            _ => entries.iter().any(|(other, its)| key.equals(other) && value.equals(its)),
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

fn lists_equal(left: &Val<'_>, a: &[Val<'_>], b: &[Val<'_>]) -> bool {
    if left.keyed_list().is_some() {
        return a.len() == b.len() && a.iter().all(|item| b.iter().any(|other| item.equals(other)));
    }
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
}

fn weights<'v, 'a: 'v>(values: impl Iterator<Item = &'v Val<'a>>, limit: usize) -> usize {
    let mut total = 1;
    for value in values {
        if total >= limit {
            break;
        }
        total += value.weight(limit - total);
    }
    total
}

fn json_weight(json: &Json, limit: usize) -> usize {
    let mut total = 1;
    let (mut items, mut fields);
    let children: &mut dyn Iterator<Item = &Json> = match json {
        Json::String(text) => return 1 + text.len() / 10,
        Json::Array(array) => {
            items = array.iter();
            &mut items
        }
        Json::Object(object) => {
            fields = object.values();
            &mut fields
        }
        _ => return 1,
    };
    for child in children {
        if total >= limit {
            break;
        }
        total += json_weight(child, limit - total);
    }
    total
}
