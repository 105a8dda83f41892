//! The types of expressions: CEL's own, those of Kubernetes' libraries, and objects by their schema.

use std::fmt;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::json;

use crate::schema::{Schema, Type as JsonType};

#[derive(Clone, Debug)]
pub(super) enum Ty<'s> {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    List(Rc<Ty<'s>>),
    Map(Rc<Ty<'s>>, Rc<Ty<'s>>),
    /// An object of named fields; `true` for one that has `apiVersion`, `kind` and `metadata`.
    Object(&'s Schema, bool),
    Optional(Rc<Ty<'s>>),
    /// A type as a value.
    Type,
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type that a signature leaves open.
    Param(u8),
}

pub(super) const URL: &str = "kubernetes.URL";
pub(super) const QUANTITY: &str = "kubernetes.Quantity";
pub(super) const SEMVER: &str = "kubernetes.Semver";
pub(super) const FORMAT: &str = "kubernetes.NamedFormat";
pub(super) const IP: &str = "net.IP";
pub(super) const CIDR: &str = "net.CIDR";
pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(super) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";

/// What every resource has, whatever its schema says.
static RESOURCE: LazyLock<Schema> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let metadata = json!({"type": "object", "properties": {"name": text, "generateName": text}});
    Schema::parse(&json!({"type": "object", "properties": {"apiVersion": text, "kind": text, "metadata": metadata}}))
});

/// The schema of a value that nothing is known of: what is in it is as it stands.
static ANYTHING: LazyLock<Schema> = LazyLock::new(Schema::anything);

pub(super) fn anything() -> &'static Schema {
    &ANYTHING
}

pub(super) fn is_anything(schema: &Schema) -> bool {
    std::ptr::eq(schema, anything())
}

/// What a signature leaves open, as it is found.
pub(super) type Bindings<'s> = [Option<Ty<'s>>; 4];

impl<'s> Ty<'s> {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Rc::new(of))
    }

    pub(super) fn map(key: Self, value: Self) -> Self {
        Self::Map(Rc::new(key), Rc::new(value))
    }

    pub(super) fn optional(of: Self) -> Self {
        Self::Optional(Rc::new(of))
    }

    /// The type of a value that follows a schema; `None` for what expressions may not look at.
    pub(super) fn of(schema: &'s Schema) -> Option<Self> {
        Self::of_resource(schema, schema.is_embedded_resource())
    }

    /// The same, for a schema that may be a resource's.
    pub(super) fn of_resource(schema: &'s Schema, is_resource: bool) -> Option<Self> {
        if schema.is_int_or_string() {
            return Some(Self::Dyn);
        }
        Some(match schema.kind()? {
            JsonType::Array => Self::list(Self::of(schema.items()?)?),
            JsonType::Object => match schema.additional() {
                Some(value) if !is_resource => Self::map(Self::Text, Self::of(value)?),
                _ => Self::Object(schema, is_resource),
            },
            JsonType::String => match schema.format().unwrap_or_default() {
                "byte" => Self::Bytes,
                "duration" => Self::Duration,
                "date" | "date-time" => Self::Timestamp,
                _ => Self::Text,
            },
            JsonType::Boolean => Self::Bool,
            JsonType::Number => Self::Double,
            JsonType::Integer => Self::Int,
        })
    }

    /// The type `arg` fits where `self` is wanted.
    pub(super) fn accepts(&self, arg: &Self, bindings: &mut Bindings<'s>) -> bool {
        match (self, arg) {
            (Self::Param(at), _) => {
                let Some(slot) = bindings.get(usize::from(*at)) else { return false };
                let joined = match slot.clone() {
                    None => arg.clone(),
                    Some(bound) => match bound.join(arg) {
                        Some(joined) => joined,
                        None => return false,
                    },
                };
                if let Some(slot) = bindings.get_mut(usize::from(*at)) {
                    *slot = Some(joined);
                }
                true
            }
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.accepts(b, bindings),
            (Self::Map(a, b), Self::Map(c, d)) => a.accepts(c, bindings) && b.accepts(d, bindings),
            (Self::Object(a, _), Self::Object(b, _)) => std::ptr::eq(*a, *b),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (wanted, Self::Null) => wanted.is_nullable(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(arg),
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(self, Self::Null | Self::Object(..) | Self::Opaque(_) | Self::Duration | Self::Timestamp)
    }

    /// The type that holds both, if there is one.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Dyn, _) => Some(other.clone()),
            (_, Self::Dyn) => Some(self.clone()),
            (Self::List(a), Self::List(b)) => Some(Self::list(a.join(b)?)),
            (Self::Optional(a), Self::Optional(b)) => Some(Self::optional(a.join(b)?)),
            (Self::Map(a, b), Self::Map(c, d)) => Some(Self::map(a.join(c)?, b.join(d)?)),
            (Self::Null, other) if other.is_nullable() => Some(other.clone()),
            _ => self.accepts(other, &mut Bindings::default()).then(|| self.clone()),
        }
    }

    /// Whether keys of maps may have it.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Dyn | Self::Bool | Self::Int | Self::Uint | Self::Text | Self::Param(_))
    }

    /// Whether two are one type.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.is(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.is(c) && b.is(d),
            (Self::Object(a, _), Self::Object(b, _)) => std::ptr::eq(*a, *b),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The type with what was found for its open ones.
    pub(super) fn filled(&self, bindings: &Bindings<'s>) -> Self {
        match self {
            Self::Param(at) => bindings.get(usize::from(*at)).cloned().flatten().unwrap_or(Self::Dyn),
            Self::List(of) => Self::list(of.filled(bindings)),
            Self::Optional(of) => Self::optional(of.filled(bindings)),
            Self::Map(key, value) => Self::map(key.filled(bindings), value.filled(bindings)),
            other => other.clone(),
        }
    }
}

impl fmt::Display for Ty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::Param(_) => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::Text => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(..) => f.write_str("object"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type => f.write_str("type"),
            Self::Opaque(name) => f.write_str(name),
        }
    }
}

/// The schema of an object's field, by the name that it has in expressions.
pub(super) fn field<'s>(schema: &'s Schema, is_resource: bool, name: &str) -> Option<(&'s Schema, String)> {
    let property = unescape(name)?;
    let own = || schema.property(&property);
    let found = if is_resource { RESOURCE.property(&property).or_else(own) } else { own() };
    found.map(|schema| (schema, property))
}

const ESCAPES: [(&str, &str); 4] = [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
/// Names that are words of the language, which stand between underscores.
const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The property that an identifier of an expression means; `None` if no property has that name.
fn unescape(name: &str) -> Option<String> {
    if KEYWORDS.contains(&name) {
        return None;
    }
    if !name.contains("__") {
        return Some(name.to_owned());
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && KEYWORDS.contains(&word)
    {
        return Some(word.to_owned());
    }
    let (mut out, mut rest) = (String::new(), name);
    while let Some(c) = rest.chars().next() {
        match ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, plain)) => {
                out.push_str(plain);
                rest = &rest[escape.len()..];
            }
            None if rest.starts_with("__") => return None,
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_identifiers_are_escaped() {
        for (name, property) in [
            ("a", Some("a")),
            ("__namespace__", Some("namespace")),
            ("namespace", None),
            ("a__dash__b", Some("a-b")),
            ("x__dot__y__slash__z", Some("x.y/z")),
            ("a__underscores__b", Some("a__b")),
            ("a__b", None),
        ] {
            assert_eq!(unescape(name).as_deref(), property, "{name}");
        }
    }

    #[test]
    fn a_schema_s_type() {
        let text = |schema: serde_json::Value| Ty::of(&Schema::parse(&schema)).map(|ty| ty.to_string());
        assert_eq!(text(json!({"type": "array", "items": {"type": "string"}})).as_deref(), Some("list(string)"));
        assert_eq!(
            text(json!({"type": "object", "additionalProperties": {"type": "string", "format": "duration"}}))
                .as_deref(),
            Some("map(string, google.protobuf.Duration)")
        );
        assert_eq!(text(json!({"x-kubernetes-int-or-string": true})).as_deref(), Some("dyn"));
        assert_eq!(text(json!({"x-kubernetes-preserve-unknown-fields": true})), None);
    }
}
