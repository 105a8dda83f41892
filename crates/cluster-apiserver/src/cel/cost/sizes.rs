//! How large values can be by their schema, as Kubernetes counts: elements of a list or map, bytes of a text.

use super::span::Span;
use crate::cel::types::{Ty, field};
use crate::schema::{Schema, Type};

/// How many bytes a request may have, which bounds what has no limit of its own.
pub(crate) const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// The most bytes that a duration or a point in time takes.
const MAX_TIME_BYTES: u64 = 32;
const DATE_BYTES: u64 = 12;

/// The fewest bytes that a value takes, as JSON.
pub(crate) fn min_size(schema: &Schema) -> u64 {
    if schema.is_int_or_string() {
        return 1;
    }
    match schema.kind() {
        Some(Type::Object) if schema.additional().is_none() => {
            let counts = |field: &Schema| field.default_value().is_none() && Ty::of(field).is_some();
            let required = schema.required_fields().filter(|(_, field)| counts(field));
            let sizes =
                required.map(|(name, field)| (name.len() as u64).saturating_add(min_size(field)).saturating_add(4));
            sizes.fold(2, u64::saturating_add)
        }
        Some(Type::String) => match schema.format().unwrap_or_default() {
            "duration" => 3,
            "date" => DATE_BYTES,
            "date-time" => 21,
            _ => 2,
        },
        Some(Type::Object | Type::Array) => 2,
        Some(Type::Boolean) => 4,
        Some(Type::Integer | Type::Number) | None => 1,
    }
}

/// The most elements that a value has; none if it is no collection of any.
fn max_elements(schema: &Schema) -> u64 {
    const MAX_BYTES: u64 = MAX_REQUEST_BYTES - 2;
    let runes = || schema.max_length().map(|length| length.saturating_mul(4));
    if schema.is_int_or_string() {
        return runes().unwrap_or(MAX_BYTES);
    }
    match schema.kind() {
        Some(Type::Array) => schema.max_items().unwrap_or_else(|| {
            let each = schema.items().map(min_size).unwrap_or_default();
            MAX_BYTES / each.saturating_add(1)
        }),
        Some(Type::Object) => match schema.additional() {
            Some(values) => schema.max_properties().unwrap_or_else(|| MAX_BYTES / min_size(values).saturating_add(6)),
            None => 0,
        },
        Some(Type::String) => match schema.format().unwrap_or_default() {
            "byte" => schema.max_length().unwrap_or(MAX_BYTES),
            "date" => DATE_BYTES,
            "duration" | "date-time" => MAX_TIME_BYTES,
            _ => runes().or_else(|| schema.longest_allowed()).unwrap_or(MAX_BYTES),
        },
        _ => 0,
    }
}

/// Where a value stands in what the schema describes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'s> {
    /// Nowhere: it was computed.
    Computed,
    /// Here; `true` for a resource.
    At(&'s Schema, bool),
    /// It is a key of a map.
    Key,
    /// Where the schema says nothing.
    Unknown,
}

/// From a value to one in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'n> {
    Field(&'n str),
    /// An item of a list, or a value of a map.
    Element,
    Key,
    Index,
}

impl<'s> Place<'s> {
    /// What stands one step below. Below what was computed stands the root, because cel-go takes the first step for the name of a variable.
    pub(super) fn below(self, step: Step<'_>, root: Self) -> Self {
        let Self::At(schema, is_resource) = self else {
            return if matches!(self, Self::Computed) { root } else { Self::Unknown };
        };
        let at = |schema: &'s Schema| Self::At(schema, schema.is_embedded_resource());
        match step {
            Step::Field(name) => field(schema, is_resource, name).map_or(Self::Unknown, |(schema, _)| at(schema)),
            Step::Element => schema.items().or(schema.additional()).map_or(Self::Unknown, at),
            Step::Key if schema.additional().is_some() => Self::Key,
            Step::Key | Step::Index => Self::Unknown,
        }
    }

    /// The size of what stands here, if the schema says something.
    pub(super) fn size(self) -> Option<Span> {
        match self {
            Self::At(schema, _) => Some(Span::up_to(max_elements(schema))),
            Self::Key => Some(Span::fixed(0)),
            Self::Computed | Self::Unknown => None,
        }
    }
}
