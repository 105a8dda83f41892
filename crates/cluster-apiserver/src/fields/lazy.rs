//! A set of fields as an object brings it: text that is taken apart only if it changes.
//!
//! Most writes take nothing from most managers; whether they do is found by looking the few changed fields up.

use std::borrow::Cow;

use serde_json::Value;

use super::element::Element;
use super::set::FieldSet;

/// A set of fields, read or not.
#[derive(Clone, Debug)]
pub(crate) enum LazySet {
    /// Of the form of managedFields. What is not of that form is empty.
    Unread(Value),
    Read(FieldSet),
}

impl LazySet {
    /// The set.
    pub(crate) fn get(&self) -> Cow<'_, FieldSet> {
        match self {
            Self::Unread(fields) => Cow::Owned(FieldSet::parse(fields).unwrap_or_default()),
            Self::Read(set) => Cow::Borrowed(set),
        }
    }

    /// What of another set is in this one.
    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        match self {
            Self::Unread(fields) => other.found_in(fields),
            Self::Read(set) => other.intersection(set),
        }
    }

    /// Whether the field at a path is in it.
    pub(crate) fn has(&self, path: &[Element]) -> bool {
        let mut field = FieldSet::default();
        field.insert(path.iter().cloned());
        !path.is_empty() && self.intersection(&field) == field
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Unread(fields) => fields.as_object().is_none_or(serde_json::Map::is_empty),
            Self::Read(set) => set.is_empty(),
        }
    }

    /// The form of managedFields.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Unread(fields) => fields,
            Self::Read(set) => set.to_value(),
        }
    }
}

impl From<FieldSet> for LazySet {
    fn from(set: FieldSet) -> Self {
        Self::Read(set)
    }
}

impl PartialEq for LazySet {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LazySet {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unread_or_read_it_is_the_same() {
        let fields = json!({"f:a": {".": {}, "f:b": {}, "k:{\"n\":1}": {}}, "f:c": {"v:\"x\"": {}}});
        let (unread, read) = (LazySet::Unread(fields.clone()), LazySet::from(FieldSet::parse(&fields).expect("set")));
        assert_eq!(unread, read);
        assert_eq!(unread.clone().into_value(), read.clone().into_value());
        for other in [
            json!({"f:a": {}}),
            json!({"f:a": {"f:b": {}, "f:z": {}}, "f:c": {}}),
            json!({"f:a": {"k:{\"n\":1}": {".": {}, "f:n": {}}}, "f:c": {"v:\"x\"": {}, "v:\"y\"": {}}}),
            json!({"f:z": {}}),
            json!({}),
        ] {
            let other = FieldSet::parse(&other).expect("set");
            assert_eq!(unread.intersection(&other), read.intersection(&other));
        }
        for path in read.get().paths() {
            assert!(unread.has(&path) && read.has(&path));
        }
        assert!(!unread.has(&[]) && !unread.has(&[Element::field("c")]) && !unread.is_empty());
        let malformed = LazySet::Unread(json!({"a": {}}));
        assert!(malformed.get().is_empty() && LazySet::Unread(json!([])).is_empty());
    }
}
