//! How JSON is read: Go's decoder treats `null` like an absent field, so every field of ours does.

use serde::{Deserialize, Deserializer};

/// Reads a field where `null` means the default, as Go does.
///
/// # Errors
/// Those of the value's own decoder.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whether a value equals its default, which Go's `omitempty` leaves out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
