//! Validation errors about one field, in Kubernetes' words.
//!
//! A refused object is answered with a `Status` whose `causes` name each field, a machine reason and a text. Clients
//! match on the reasons and people read the texts, so both are built here and nowhere else: the constructors give the
//! exact wording (`Required value`, `Invalid value: "x": …`), callers give only the detail.
//!
//! [`FieldPath`] is a chain of borrowed segments on the stack: nothing is allocated until something is wrong.
//!
//! Specified by apimachinery's `field.Error` and by the recorded 422 answers of a kube-apiserver.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// The machine readable reason of a [`FieldError`], as it stands in a Status' causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldReason {
    /// A referenced value does not exist.
    NotFound,
    /// A value must be given.
    Required,
    /// A value that must be unique occurs twice.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value outside an enumeration.
    NotSupported,
    /// A well-formed value that is not allowed here or now.
    Forbidden,
    /// A value with too many bytes.
    TooLong,
    /// A value with too few bytes or characters.
    TooShort,
    /// A list with too many items.
    TooMany,
    /// A list with too few items.
    TooFew,
    /// A value of the wrong JSON type.
    TypeInvalid,
    /// A fault of the server.
    Internal,
}

impl FieldReason {
    /// The word used in `causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Why, for machines.
    pub reason: FieldReason,
    /// Where, such as `spec.template.spec.containers[0].name`; `<nil>` for the object itself.
    pub field: String,
    /// What, for people: the text of `causes[].message`, which starts with the reason's words.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    fn plain(reason: FieldReason, field: &FieldPath<'_>, detail: &str) -> Self {
        let message = if detail.is_empty() { reason.text().to_owned() } else { format!("{}: {detail}", reason.text()) };
        Self { reason, field: field.to_string(), message }
    }

    fn valued(reason: FieldReason, field: &FieldPath<'_>, value: &str, detail: &str) -> Self {
        let mut message = format!("{}: {value}", reason.text());
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        Self { reason, field: field.to_string(), message }
    }

    /// The words of a reason and a detail, without the value.
    pub fn bare(reason: FieldReason, field: &FieldPath<'_>, detail: &str) -> Self {
        Self::plain(reason, field, detail)
    }

    /// `Required value`, with an optional (may be empty) detail.
    pub fn required(field: &FieldPath<'_>, detail: &str) -> Self {
        Self::plain(FieldReason::Required, field, detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &FieldPath<'_>, detail: &str) -> Self {
        Self::plain(FieldReason::Forbidden, field, detail)
    }

    /// `Invalid value: VALUE: detail`; strings are quoted as Go quotes them, other values are JSON.
    pub fn invalid(field: &FieldPath<'_>, value: impl Shown, detail: &str) -> Self {
        Self::valued(FieldReason::Invalid, field, &value.shown(), detail)
    }

    /// `Invalid value: VALUE: detail` with the reason `FieldValueTypeInvalid`.
    pub fn type_invalid(field: &FieldPath<'_>, value: impl Shown, detail: &str) -> Self {
        Self::valued(FieldReason::TypeInvalid, field, &value.shown(), detail)
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(field: &FieldPath<'_>, value: impl Shown) -> Self {
        Self::valued(FieldReason::Duplicate, field, &value.shown(), "")
    }

    /// `Not found: VALUE`.
    pub fn not_found(field: &FieldPath<'_>, value: impl Shown) -> Self {
        Self::valued(FieldReason::NotFound, field, &value.shown(), "")
    }

    /// `Unsupported value: VALUE: supported values: "a", "b"`, in the order given.
    pub fn not_supported(field: &FieldPath<'_>, value: impl Shown, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::valued(FieldReason::NotSupported, field, &value.shown(), &detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &FieldPath<'_>, max_bytes: usize) -> Self {
        let unit = if max_bytes == 1 { "byte" } else { "bytes" };
        Self::plain(FieldReason::TooLong, field, &format!("may not be more than {max_bytes} {unit}"))
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(field: &FieldPath<'_>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::valued(FieldReason::TooMany, field, &actual.to_string(), &format!("must have at most {max} {unit}"))
    }
}

/// A value as it is shown inside a [`FieldError`].
pub trait Shown {
    /// The text between `Invalid value: ` and the detail.
    fn shown(&self) -> String;
}

impl Shown for &str {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for &String {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for &Value {
    fn shown(&self) -> String {
        match self {
            Value::String(text) => quote(text),
            other => go_json(other),
        }
    }
}

/// JSON as Go writes it: `<`, `>` and `&` escaped.
pub fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&']) {
        return text;
    }
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A string in Go's `%q` form.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Where in an object a check is, as a chain of borrowed segments.
#[derive(Debug, Clone, Copy)]
pub enum FieldPath<'a> {
    /// The object itself.
    Root,
    /// A named field.
    Field(&'a FieldPath<'a>, &'a str),
    /// An item of a list.
    Index(&'a FieldPath<'a>, usize),
    /// An entry of a map.
    Key(&'a FieldPath<'a>, &'a str),
}

impl<'a> FieldPath<'a> {
    /// The field `name` below this one.
    pub fn child(&'a self, name: &'a str) -> FieldPath<'a> {
        FieldPath::Field(self, name)
    }

    /// The item `index` of this list.
    pub fn index(&'a self, index: usize) -> FieldPath<'a> {
        FieldPath::Index(self, index)
    }

    /// The entry `key` of this map.
    pub fn key(&'a self, key: &'a str) -> FieldPath<'a> {
        FieldPath::Key(self, key)
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("<nil>"),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(Self::Root, index) => write!(f, "[{index}]"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(Self::Root, key) => write!(f, "[{key}]"),
            Self::Key(parent, key) => write!(f, "{parent}[{key}]"),
        }
    }
}

/// The text that a `Status` gives for several errors: one stands alone, several in brackets, equal ones once.
pub fn aggregate(errors: &[impl fmt::Display]) -> String {
    let mut told = BTreeSet::new();
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.retain(|text| told.insert(text.clone()));
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        let spec = FieldPath::Root.child("spec");
        let list = spec.child("containers");
        let item = list.index(2);
        let name = item.child("name");
        let error = FieldError::invalid(&name, "a\"b", "must be good");
        assert_eq!(error.to_string(), r#"spec.containers[2].name: Invalid value: "a\"b": must be good"#);
        assert_eq!(FieldError::required(&name, "").message, "Required value");
        assert_eq!(
            FieldError::not_supported(&name, "x", &["A", "B"]).message,
            r#"Unsupported value: "x": supported values: "A", "B""#
        );
        assert_eq!(FieldError::too_long(&name, 253).message, "Too long: may not be more than 253 bytes");
        assert_eq!(FieldError::too_many(&name, 4, 1).message, "Too many: 4: must have at most 1 item");
        assert_eq!(FieldError::invalid(&name, &json!({"a": "<"}), "").message, r#"Invalid value: {"a":"\u003c"}"#);
        assert_eq!(spec.key("a/b").to_string(), "spec[a/b]");
        assert_eq!(FieldPath::Root.to_string(), "<nil>");
    }

    #[test]
    fn several_errors_stand_in_brackets_once_each() {
        let a = FieldError::required(&FieldPath::Root.child("a"), "");
        let b = FieldError::forbidden(&FieldPath::Root.child("b"), "no");
        assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
        assert_eq!(aggregate(&[a.clone(), b, a]), "[a: Required value, b: Forbidden: no]");
    }
}
