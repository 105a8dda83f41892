//! Structural schemas of custom resources: what a CRD's `openAPIV3Schema` means for an object.
//!
//! ```text
//! decode → prune (unknown fields) → default → drop nulls → … → validate
//! ```
//! [`Schema::parse`] compiles a version's schema once; everything else is a walk over a value with it. Texts of refusals are those of
//! Kubernetes (`spec.n in body should be less than or equal to 5`). Rules in CEL (`x-kubernetes-validations`) are compiled when an object
//! first meets them. What an update leaves as it was is not refused for a schema that came later (ratcheting).

mod default;
mod embedded;
mod expressions;
mod format;
mod prune;
mod structural;
mod validate;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use crate::pattern;
pub(crate) use expressions::{Expression, field_path};
pub(crate) use format::{base64, cidr, duration, holds as has_format};
pub use structural::structural_errors;
pub use validate::validate;

/// A compiled schema node.
#[derive(Debug, Default)]
pub struct Schema {
    kind: Option<Type>,
    is_nullable: bool,
    is_int_or_string: bool,
    preserves_unknown: bool,
    is_embedded_resource: bool,
    is_map_atomic: bool,
    /// Whether resources are embedded here or below.
    has_embedded: bool,
    /// Rules in CEL, most nodes have none.
    expressions: Box<[Expression]>,
    /// Whether there are such rules here or below.
    has_expressions: bool,
    default: Option<Box<Value>>,
    properties: BTreeMap<Box<str>, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    list: ListType,
    rules: Option<Box<Rules>>,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    /// The word for it in a schema.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What is known of fields that are not named.
#[derive(Debug, Default)]
enum Additional {
    /// Nothing: they are unknown.
    #[default]
    None,
    /// They may be anything.
    Any,
    /// They follow a schema.
    Schema(Box<Schema>),
}

/// How the items of a list are told apart.
#[derive(Debug, Default)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<Box<str>>),
}

/// Bounds on a value, present on few nodes.
#[derive(Debug, Default)]
struct Rules {
    required: Vec<Box<str>>,
    allowed: Vec<Value>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<Pattern>,
    format: Option<Box<str>>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    has_unique_items: bool,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Schema>,
}

#[derive(Debug)]
struct Bound {
    value: serde_json::Number,
    is_exclusive: bool,
}

/// A regular expression, compiled when it is first needed: compiled ones are large and most are never asked.
#[derive(Debug)]
struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// Whether it matches; an expression that does not compile matches everything.
    fn matches(&self, value: &str) -> bool {
        self.compiled
            .get_or_init(|| pattern::compile(&self.text).ok())
            .as_ref()
            .is_none_or(|regex| regex.is_match(value))
    }
}

impl Schema {
    /// Compiles the JSON form of a schema. Keywords that cannot be read are as if absent; see [`structural_errors`] for what is refused.
    pub fn parse(schema: &Value) -> Self {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = match text("type") {
            "object" => Some(Type::Object),
            "array" => Some(Type::Array),
            "string" => Some(Type::String),
            "integer" => Some(Type::Integer),
            "number" => Some(Type::Number),
            "boolean" => Some(Type::Boolean),
            _ => None,
        };
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let items = schema.get("items").filter(|items| items.is_object());
        let mut parsed = Self {
            kind,
            is_nullable: flag("nullable"),
            is_int_or_string: flag("x-kubernetes-int-or-string"),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            is_embedded_resource: flag("x-kubernetes-embedded-resource"),
            is_map_atomic: text("x-kubernetes-map-type") == "atomic",
            has_embedded: false,
            expressions: Expression::parse_all(schema),
            has_expressions: false,
            default: schema.get("default").map(|value| Box::new(value.clone())),
            properties: properties.map(|(name, schema)| (name.as_str().into(), Self::parse(schema))).collect(),
            additional: Additional::parse(schema.get("additionalProperties")),
            items: items.map(|items| Box::new(Self::parse(items))),
            list: ListType::parse(schema),
            rules: Rules::parse(schema).map(Box::new),
        };
        parsed.has_expressions = !parsed.expressions.is_empty() || parsed.children().any(|child| child.has_expressions);
        parsed.has_embedded = parsed.is_embedded_resource || parsed.children().any(|child| child.has_embedded);
        parsed
    }

    /// The schema of values that may be anything.
    pub fn anything() -> Self {
        Self { preserves_unknown: true, ..Self::default() }
    }

    /// Whether rules in CEL stand anywhere in it.
    pub fn has_expressions(&self) -> bool {
        self.has_expressions
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        let additional = match &self.additional {
            Additional::Schema(schema) => Some(schema.as_ref()),
            _ => None,
        };
        self.properties.values().chain(self.items.as_deref()).chain(additional)
    }

    /// The type, if the schema names one.
    pub(crate) fn kind(&self) -> Option<Type> {
        self.kind
    }

    /// Whether it is a number or a text.
    pub(crate) fn is_int_or_string(&self) -> bool {
        self.is_int_or_string
    }

    /// The format that a text must have.
    pub(crate) fn format(&self) -> Option<&str> {
        self.rules.as_ref()?.format.as_deref()
    }

    /// How many characters a text may have.
    pub(crate) fn max_length(&self) -> Option<u64> {
        self.rules.as_ref()?.max_length
    }

    /// How many bytes the longest of a text's values has, if these are listed.
    pub(crate) fn longest_allowed(&self) -> Option<u64> {
        let allowed = &self.rules.as_ref()?.allowed;
        let longest = allowed.iter().filter_map(|value| value.as_str()).map(|text| text.len() as u64).max();
        (!allowed.is_empty()).then(|| longest.unwrap_or_default())
    }

    /// How many items a list may have.
    pub(crate) fn max_items(&self) -> Option<u64> {
        self.rules.as_ref()?.max_items
    }

    /// How many fields an object may have.
    pub(crate) fn max_properties(&self) -> Option<u64> {
        self.rules.as_ref()?.max_properties
    }

    /// The named fields that must be there.
    pub(crate) fn required_fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let names = self.rules.iter().flat_map(|rules| &rules.required);
        names.filter_map(|name| Some((name.as_ref(), self.properties.get(name)?)))
    }

    /// The schema of a field that is named.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        self.properties.get(name)
    }

    /// The schema of a list's items.
    pub(crate) fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// How a list's items are told apart.
    pub(crate) fn list_type(&self) -> &ListType {
        &self.list
    }

    /// Whether an object is owned as a whole.
    pub(crate) fn is_map_atomic(&self) -> bool {
        self.is_map_atomic
    }

    /// Whether an object has `apiVersion`, `kind` and `metadata` of its own.
    pub(crate) fn is_embedded_resource(&self) -> bool {
        self.is_embedded_resource
    }

    /// Whether fields that no schema knows are kept.
    pub(crate) fn keeps_unknown_fields(&self) -> bool {
        self.preserves_unknown
    }

    /// Whether an object has whatever fields, because nothing is said of them.
    pub(crate) fn takes_any_field(&self) -> bool {
        match self.additional {
            Additional::None => self.properties.is_empty(),
            Additional::Any => true,
            Additional::Schema(_) => false,
        }
    }

    /// What a value is that is not set.
    pub(crate) fn default_value(&self) -> Option<&Value> {
        self.default.as_deref()
    }

    /// The schema of a field that is not named, if such fields are known.
    pub(crate) fn additional(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        }
    }
}

impl Additional {
    fn parse(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Bool(true)) => Self::Any,
            Some(schema @ Value::Object(_)) => Self::Schema(Box::new(Schema::parse(schema))),
            _ => Self::None,
        }
    }
}

impl ListType {
    fn parse(schema: &Value) -> Self {
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Self::Set,
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
                Self::Map(keys.filter_map(Value::as_str).map(Into::into).collect())
            }
            _ => Self::Atomic,
        }
    }
}

impl Rules {
    /// The rules of a schema, `None` if it has none.
    fn parse(schema: &Value) -> Option<Self> {
        const NAMES: [&str; 18] = [
            "required",
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "format",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !NAMES.iter().any(|name| schema.get(name).is_some()) {
            return None;
        }
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let text = |name: &str| schema.get(name).and_then(Value::as_str);
        let list = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten();
        let bound = |name: &str, exclusive: &str| {
            let value = schema.get(name)?.as_number()?.clone();
            Some(Bound { value, is_exclusive: schema.get(exclusive).and_then(Value::as_bool).unwrap_or_default() })
        };
        Some(Self {
            required: list("required").filter_map(Value::as_str).map(Into::into).collect(),
            allowed: list("enum").cloned().collect(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: text("pattern").map(Pattern::new),
            format: text("format").map(Into::into),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            has_unique_items: schema.get("uniqueItems").and_then(Value::as_bool).unwrap_or_default(),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of: list("allOf").map(Schema::parse).collect(),
            any_of: list("anyOf").map(Schema::parse).collect(),
            one_of: list("oneOf").map(Schema::parse).collect(),
            not: schema.get("not").map(Schema::parse),
        })
    }
}
