//! What is wrong with an object, and where: Knative's `FieldError`, to the letter.
//!
//! A validator returns [`FieldErrors`]; its caller says how it got there (`via_field`, `via_index`,
//! `via_key`), so that each path is made once, from the inside out. Printing merges: errors with
//! one message, level and details become one line with all their paths, sorted.
//!
//! ```text
//! missing field(s): spec.template.spec.containers[0].image
//! invalid value: 3: metadata.annotations
//! <details on lines of their own>
//! ```

use std::collections::BTreeMap;
use std::fmt;

#[cfg(test)]
mod tests;

/// The path of the value that is being looked at.
pub const CURRENT_FIELD: &str = "";

/// Whether a diagnostic refuses an object or only warns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The object is refused.
    #[default]
    Error,
    /// The user is told.
    Warning,
}

/// One diagnostic about one or several fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub message: String,
    /// Where: paths from the object's root.
    pub paths: Vec<String>,
    /// How bad it is.
    pub level: Level,
    /// More text, on lines of its own; may be empty.
    pub details: String,
}

/// Any number of diagnostics. Empty means that nothing is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct FieldErrors {
    list: Vec<FieldError>,
}

impl FieldErrors {
    /// Nothing is wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// One diagnostic at these paths (none: about the whole).
    pub fn one<P: Into<String>>(message: impl Into<String>, paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        Self { list: vec![FieldError { message: message.into(), paths, ..FieldError::default() }] }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds other diagnostics.
    pub fn also(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// These and other diagnostics.
    pub fn and(mut self, other: Self) -> Self {
        self.also(other);
        self
    }

    /// The same with further text.
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        let details = details.into();
        for error in &mut self.list {
            error.details.clone_from(&details);
        }
        self
    }

    /// The same at another level.
    pub fn at(mut self, level: Level) -> Self {
        for error in &mut self.list {
            error.level = level;
        }
        self
    }

    /// Those of one level.
    pub fn filter(mut self, level: Level) -> Self {
        self.list.retain(|error| error.level == level);
        self
    }

    /// The same, seen from the object that has this field.
    pub fn via_field(mut self, field: &str) -> Self {
        for path in self.list.iter_mut().flat_map(|error| &mut error.paths) {
            *path = join(field, path);
        }
        self
    }

    /// The same, seen from the list that has this item.
    pub fn via_index(self, index: usize) -> Self {
        self.via_field(&format!("[{index}]"))
    }

    /// The same, seen from the object whose `field` is a list that has this item.
    pub fn via_field_index(self, field: &str, index: usize) -> Self {
        self.via_index(index).via_field(field)
    }

    /// The same, seen from the map that has this key.
    pub fn via_key(self, key: &str) -> Self {
        self.via_field(&format!("[{key}]"))
    }

    /// The diagnostics as they are printed: merged and sorted.
    pub fn merged(&self) -> Vec<FieldError> {
        let mut merged: BTreeMap<(&str, &str, Level), Vec<String>> = BTreeMap::new();
        for error in &self.list {
            let paths = merged.entry((&error.message, &error.details, error.level)).or_default();
            paths.extend(error.paths.iter().cloned());
        }
        merged.into_iter().map(|((message, details, level), paths)| one_line(message, details, level, paths)).collect()
    }
}

fn one_line(message: &str, details: &str, level: Level, mut paths: Vec<String>) -> FieldError {
    paths.sort();
    paths.dedup();
    FieldError { message: message.to_owned(), paths, level, details: details.to_owned() }
}

/// Puts a field before a path: names are joined by dots, an index binds to what precedes it.
fn join(field: &str, path: &str) -> String {
    let mut joined = String::with_capacity(field.len() + path.len() + 1);
    for part in field.split('.').chain(path.split('.')).filter(|part| !part.is_empty()) {
        let is_index = part.starts_with('[') && part.ends_with(']');
        if !joined.is_empty() && !is_index {
            joined.push('.');
        }
        joined.push_str(part);
    }
    joined
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.paths.join(", "))?;
        if !self.details.is_empty() {
            write!(f, "\n{}", self.details)?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, error) in self.merged().iter().enumerate() {
            let separator = if line == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// A field must be set and is not.
pub fn missing_field(path: &str) -> FieldErrors {
    FieldErrors::one("missing field(s)", [path])
}

/// Fields must not be set and are.
pub fn disallowed_fields<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> FieldErrors {
    FieldErrors::one("must not set the field(s)", paths)
}

/// A field has a value it cannot have.
pub fn invalid_value(value: impl fmt::Display, path: &str) -> FieldErrors {
    FieldErrors::one(format!("invalid value: {value}"), [path])
}

/// An item of a list has a value it cannot have; the path is written as Knative does, `field[i]`.
pub fn invalid_array_value(value: impl fmt::Display, field: &str, index: usize) -> FieldErrors {
    invalid_value(value, CURRENT_FIELD).via_field_index(field, index)
}

/// Exactly one of these must be set and none is.
pub fn missing_one_of<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> FieldErrors {
    FieldErrors::one("expected exactly one, got neither", paths)
}

/// Exactly one of these must be set and several are.
pub fn multiple_one_of<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> FieldErrors {
    FieldErrors::one("expected exactly one, got both", paths)
}

/// A map has a key it cannot have.
pub fn invalid_key_name(key: &str, path: &str) -> FieldErrors {
    FieldErrors::one(format!("invalid key name {}", crate::go_text::quote(key)), [path])
}

/// A value is outside of its bounds.
pub fn out_of_bounds(
    value: impl fmt::Display,
    lower: impl fmt::Display,
    upper: impl fmt::Display,
    path: &str,
) -> FieldErrors {
    FieldErrors::one(format!("expected {lower} <= {value} <= {upper}"), [path])
}
