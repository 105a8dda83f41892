//! What most kinds do before a write: who owns `status`, and when `generation` counts.
//!
//! Kinds differ in three respects only, so they say them as data ([`Rules`]) and the hooks of
//! [`Strategy`](super::Strategy) follow: a status that only the status subresource writes, the fields whose change
//! counts a generation, and the metadata that a status write leaves alone.

use serde_json::Value;

use super::strategy::{bump_generation, first_generation};
use crate::value::{as_object, copy_field, semantic_eq};

/// When `metadata.generation` counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Never; new objects have none.
    None,
    /// 1 at creation, and never again.
    Once,
    /// 1 at creation, and one more with each change of one of these fields.
    Counts(&'static [&'static str]),
    /// As [`Generation::Counts`], and also with each change of the labels or annotations of this name.
    CountsMetadata(&'static [&'static str], &'static str),
}

/// What a kind's writes do to status and generation.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether `status` belongs to the status subresource alone.
    pub has_status: bool,
    /// The status of a new object, as JSON text of an object; empty for none.
    pub first_status: &'static str,
    /// When `metadata.generation` counts.
    pub generation: Generation,
    /// The metadata that a status write does not change.
    pub status_keeps: &'static [&'static str],
}

impl Rules {
    /// A kind without status and generation.
    pub const PLAIN: Self =
        Self { has_status: false, first_status: "", generation: Generation::None, status_keeps: &[] };

    /// A kind with status whose generation counts changes of `spec`.
    pub const SPEC_AND_STATUS: Self =
        Self { has_status: true, generation: Generation::Counts(&["spec"]), ..Self::PLAIN };

    /// A kind with status and without generation.
    pub const STATUS: Self = Self { has_status: true, ..Self::PLAIN };

    pub(super) fn create(&self, object: &mut Value) {
        if self.has_status {
            let first = if self.first_status.is_empty() { "{}" } else { self.first_status };
            let status = serde_json::from_str(first).unwrap_or(Value::Null);
            as_object(object).insert("status".to_owned(), status);
        }
        if self.generation != Generation::None {
            first_generation(object);
        }
    }

    pub(super) fn update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        if subresource == Some("status") {
            self.update_status(new, old);
            return;
        }
        if self.has_status {
            copy_field(new, old, "status");
        }
        if self.counts(new, old) {
            bump_generation(new);
        }
    }

    fn update_status(&self, new: &mut Value, old: &Value) {
        copy_field(new, old, "spec");
        for name in self.status_keeps {
            copy_field(crate::value::child_mut(new, "metadata"), &old["metadata"], name);
        }
    }

    fn counts(&self, new: &Value, old: &Value) -> bool {
        let differs = |fields: &[&str]| fields.iter().any(|name| !semantic_eq(&new[*name], &old[*name]));
        match self.generation {
            Generation::None | Generation::Once => false,
            Generation::Counts(fields) => differs(fields),
            Generation::CountsMetadata(fields, name) => {
                differs(fields) || !semantic_eq(&new["metadata"][name], &old["metadata"][name])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_belongs_to_its_subresource() {
        let rules = Rules::SPEC_AND_STATUS;
        let old = json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": {"s": 1}});
        let mut new = json!({"metadata": {"generation": 3}, "spec": {"a": 2}, "status": {"s": 2}});
        rules.update(&mut new, &old, None);
        assert_eq!(new, json!({"metadata": {"generation": 4}, "spec": {"a": 2}, "status": {"s": 1}}));
        let mut new = json!({"metadata": {"generation": 3}, "spec": {"a": 2}, "status": {"s": 2}});
        rules.update(&mut new, &old, Some("status"));
        assert_eq!(new, json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": {"s": 2}}));
    }

    #[test]
    fn a_new_object_starts_clean() {
        let mut object = json!({"spec": {}, "status": {"s": 1}});
        Rules { first_status: r#"{"phase":"Pending"}"#, ..Rules::SPEC_AND_STATUS }.create(&mut object);
        assert_eq!(object, json!({"metadata": {"generation": 1}, "spec": {}, "status": {"phase": "Pending"}}));
        let mut object = json!({"data": {}});
        Rules::PLAIN.create(&mut object);
        assert_eq!(object, json!({"data": {}}));
    }
}
