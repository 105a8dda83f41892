//! Keys of maps: what may be one, and how they are told apart.

use std::cmp::Ordering;

use super::eval::Fault;
use super::value::{Text, Val};
use crate::schema::ListType;

/// A key of a map. An `int` and a `uint` of one value are one key.
#[derive(Clone, Debug)]
pub(super) enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(Text<'a>),
}

impl<'a> Key<'a> {
    /// A value as the key that it can be.
    pub(super) fn of(value: &Val<'a>) -> Option<Self> {
        match value {
            Val::Bool(value) => Some(Self::Bool(*value)),
            Val::Int(value) => Some(Self::Int(*value)),
            Val::Uint(value) => Some(Self::Uint(*value)),
            Val::Text(text) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    /// A value as the key that it equals: for one that is looked for, a whole number may be a `double`.
    pub(super) fn sought(value: &Val<'a>) -> Option<Self> {
        match value {
            Val::Double(number) => super::library::whole(*number).filter(|_| number.fract() == 0.0).map(Self::Int),
            value => Self::of(value),
        }
    }

    /// The key that a map gets.
    ///
    /// # Errors
    /// A value of its type is none.
    pub(super) fn made(value: &Val<'a>) -> Result<Self, Fault> {
        Self::of(value).ok_or_else(|| Fault::Error(unsupported(value.type_name())))
    }

    pub(super) fn value(&self) -> Val<'a> {
        match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => Val::Int(*value),
            Self::Uint(value) => Val::Uint(*value),
            Self::Text(text) => Val::Text(text.clone()),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// Types in their order.
    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Uint(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

/// What is said of a type that keys cannot have.
pub(super) fn unsupported(type_name: impl std::fmt::Display) -> String {
    format!("unsupported key type: {type_name}")
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_ref().cmp(b.as_ref()),
            _ => self.rank().cmp(&other.rank()).then_with(|| self.number().cmp(&other.number())),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

/// What tells an item of a set, or of a list that is a map, from the others; `None` where only a comparison can tell.
pub(super) fn identity<'a>(list: &ListType, item: &Val<'a>) -> Option<Vec<Option<Key<'a>>>> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(vec![Some(Key::of(item)?)]),
        ListType::Map(names) => {
            let key = |name: &str| match item.field_of(name) {
                Some(value) => Key::of(&value).map(Some),
                None => Some(None),
            };
            names.iter().map(|name| key(name)).collect()
        }
    }
}
