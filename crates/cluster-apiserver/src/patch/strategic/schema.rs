//! What a patch may know about a value: its type, or that it has none.

use super::PatchError;
use crate::facts::{Field, Shape, Type, ValueKind};

/// The type of a map's values or a list's items.
#[derive(Debug, Clone, Copy)]
pub(super) enum Schema {
    /// A message, with its fields.
    Message(Type),
    /// A map of values like this field's.
    MapOf(Field),
    /// A value that the server keeps as it is; this is its type's name.
    Opaque(&'static str),
}

/// How a list is patched.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListRule {
    /// Whether it merges with the old list.
    pub(super) merges: bool,
    /// The key of its items.
    pub(super) key: Option<&'static str>,
    /// The type of its items.
    pub(super) items: Schema,
}

impl Schema {
    /// The type's name in messages.
    pub(super) fn go_name(self) -> &'static str {
        match self {
            Self::Message(of) => of.go_struct_name(),
            Self::MapOf(field) => field.go_type(),
            Self::Opaque(name) => name,
        }
    }

    /// The map `name`: its type, and whether a patch replaces it.
    pub(super) fn map(self, name: &str) -> Result<(Self, bool), PatchError> {
        match self {
            Self::MapOf(field) => Ok((of_value(field), false)),
            Self::Message(_) | Self::Opaque(_) => {
                let field = self.field(name)?;
                let inner = if field.shape() == Shape::Map { Self::MapOf(field) } else { of_value(field) };
                Ok((inner, field.patch_replaces()))
            }
        }
    }

    /// The list `name`.
    pub(super) fn list(self, name: &str) -> Result<ListRule, PatchError> {
        let field = match self {
            Self::MapOf(field) => {
                return Ok(ListRule { merges: false, key: None, items: Self::Opaque(field.go_type()) });
            }
            Self::Message(_) | Self::Opaque(_) => self.field(name)?,
        };
        Ok(ListRule { merges: field.patch_merges(), key: field.patch_merge_key(), items: of_value(field) })
    }

    fn field(self, name: &str) -> Result<Field, PatchError> {
        let found = if let Self::Message(of) = self { of.field(name) } else { None };
        found.ok_or_else(|| {
            let of = self.go_name();
            PatchError::Unfit(format!("unable to find api field in struct {of} for the json field {name:?}"))
        })
    }
}

/// The type of one value of a field.
fn of_value(field: Field) -> Schema {
    match (field.value_kind(), field.message()) {
        (ValueKind::Message, Some(of)) => Schema::Message(of),
        (ValueKind::RawExtension, _) => Schema::Opaque("RawExtension"),
        (ValueKind::FieldsV1, _) => Schema::Opaque("FieldsV1"),
        (ValueKind::Json, _) => Schema::Opaque("JSON"),
        (ValueKind::SchemaOrBool, _) => Schema::Opaque("JSONSchemaPropsOrBool"),
        (ValueKind::SchemaOrArray, _) => Schema::Opaque("JSONSchemaPropsOrArray"),
        (ValueKind::SchemaOrStringArray, _) => Schema::Opaque("JSONSchemaPropsOrStringArray"),
        _ => Schema::Opaque(field.go_type()),
    }
}
