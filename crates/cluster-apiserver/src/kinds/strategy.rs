//! The hooks in which kinds differ, and the one order in which a write calls them.
//!
//! ```text
//! create: default → admit → (admission chain) → before_create = prepare_create → validate_create → metadata → canonicalize
//! update: default → admit → (admission chain) → before_update = prepare_update → keep what a client may not change
//!                                                              → metadata → validate_update → canonicalize
//! ```
//!
//! Hooks take objects in canonical form (see `facts::canonical`) and never fail: what is wrong is a
//! list of [`FieldError`]s. Specified by apiserver's `rest.BeforeCreate` and `rest.BeforeUpdate`.

use std::sync::Arc;

use serde_json::Value;

use super::{Kind, Scope, defaults, metadata, rules::Rules};
use crate::{
    field_error::FieldError,
    value::{as_object, at, child_mut, copy_field, i64_at, object_at, str_at},
};

/// How names of a kind are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS-1123 subdomain: the rule of most kinds.
    Subdomain,
    /// A DNS-1123 label.
    Label,
    /// A DNS-1035 label, which starts with a letter.
    Label1035,
    /// Anything that is one segment of a path.
    PathSegment,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object.
    Update,
}

/// Why [`Strategy::admit`] refuses a write: the text after `… is forbidden: `, answered as 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// For people.
    pub message: String,
}

/// The other objects that [`Strategy::admit`] may look at.
pub trait Lookup {
    /// One object of a resource; the namespace is empty for cluster scope.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a resource in a namespace (empty: of cluster scope).
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>>;
}

/// A [`Lookup`] over nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn get(&self, _group: &str, _plural: &str, _namespace: &str, _name: &str) -> Option<Arc<Value>> {
        None
    }

    fn list(&self, _group: &str, _plural: &str, _namespace: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }
}

/// What [`Strategy::admit`] knows about a write besides the object.
pub struct Admission<'a> {
    /// What the write does.
    pub operation: Operation,
    /// The object before an update.
    pub old: Option<&'a Value>,
    /// Other objects.
    pub cluster: &'a dyn Lookup,
    /// A fresh random number, for generated names inside the object.
    pub random: u64,
}

/// What happens to dependents when a delete does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They are deleted in the background.
    Delete,
    /// They are orphaned.
    Orphan,
}

/// The behaviour in which a kind differs from others. The default of every hook is what a plain kind does: nothing.
pub trait Strategy: Sync {
    /// Fills in the server's defaults, in an object or (for a status write) in the merged object. The object says with
    /// its apiVersion and kind what it is.
    fn default(&self, object: &mut Value) {
        defaults::apply(object);
    }

    /// Who owns the status, and when the generation counts.
    fn rules(&self) -> Rules {
        Rules::PLAIN
    }

    /// What the built-in admission plug-ins do to a create or an update of the object itself, not of subresources.
    fn admit(&self, _object: &mut Value, _admission: &Admission<'_>) -> Result<(), Denied> {
        Ok(())
    }

    /// Removes what a client may not set at creation, and sets what the server sets; `metadata` has its uid already.
    fn prepare_create(&self, object: &mut Value) {
        self.rules().create(object);
    }

    /// Puts back what this write may not change, and counts the generation.
    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
    }

    /// How names are formed.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// What is wrong with a new object, besides its metadata.
    fn validate_create(&self, _object: &Value, _errors: &mut Vec<FieldError>) {}

    /// What is wrong with a change, besides metadata.
    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Vec<FieldError>) {
        if subresource.is_none() {
            self.validate_create(new, errors);
        }
    }

    /// What a client should know about a write that is accepted, each at most a line.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Brings a valid object into the form that is stored.
    fn canonicalize(&self, _object: &mut Value) {}

    /// Whether a PUT to a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT without `metadata.resourceVersion` is taken.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// How long an object lives on after a delete, if its kind ends gracefully; `None` for a kind that does not.
    fn deletion_grace_period_s(&self, _object: &Value, _requested_s: Option<i64>) -> Option<i64> {
        None
    }

    /// What happens to dependents when a delete does not say.
    fn default_dependents(&self) -> Dependents {
        Dependents::Delete
    }
}

/// The last step before a new object is stored: what the server sets, then every check. Answers with warnings.
///
/// `object` has its name (generated if asked for), namespace, uid and creationTimestamp.
pub fn before_create(kind: &Kind, object: &mut Value) -> Result<Vec<String>, Vec<FieldError>> {
    drop_namespace(kind, object);
    kind.strategy.prepare_create(object);
    let mut errors = Vec::new();
    metadata::validate_create(kind, object, &mut errors);
    kind.strategy.validate_create(object, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let warnings = kind.strategy.warnings(object, None);
    kind.strategy.canonicalize(object);
    Ok(warnings)
}

/// The last step before a change is stored: what it may not touch is put back, then every check. Answers with warnings.
pub fn before_update(
    kind: &Kind,
    new: &mut Value,
    old: &Value,
    subresource: Option<&str>,
) -> Result<Vec<String>, Vec<FieldError>> {
    drop_namespace(kind, new);
    copy_field(child_mut(new, "metadata"), &old["metadata"], "generation");
    kind.strategy.prepare_update(new, old, subresource);
    keep_system_metadata(new, old);
    let mut errors = Vec::new();
    metadata::validate_update(kind, new, old, &mut errors);
    kind.strategy.validate_update(new, old, subresource, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let warnings = if subresource.is_none() { kind.strategy.warnings(new, Some(old)) } else { Vec::new() };
    kind.strategy.canonicalize(new);
    Ok(warnings)
}

/// An object of the cluster is in no namespace.
fn drop_namespace(kind: &Kind, object: &mut Value) {
    if kind.scope == Scope::Cluster {
        as_object(child_mut(object, "metadata")).remove("namespace");
    }
}

fn keep_system_metadata(new: &mut Value, old: &Value) {
    let old_meta = &old["metadata"];
    let meta = child_mut(new, "metadata");
    if str_at(meta, &["uid"]).is_empty() {
        copy_field(meta, old_meta, "uid");
    }
    if at(old_meta, &["creationTimestamp"]).is_some() {
        copy_field(meta, old_meta, "creationTimestamp");
    }
    if at(old_meta, &["deletionTimestamp"]).is_some() {
        copy_field(meta, old_meta, "deletionTimestamp");
    }
    if i64_at(meta, &["deletionGracePeriodSeconds"]).is_none() {
        copy_field(meta, old_meta, "deletionGracePeriodSeconds");
    }
}

/// Counts `metadata.generation` up by one.
pub(super) fn bump_generation(object: &mut Value) {
    let generation = i64_at(object, &["metadata", "generation"]).unwrap_or_default();
    object_at(object, &["metadata"]).insert("generation".to_owned(), Value::from(generation + 1));
}

/// Sets `metadata.generation` to 1, as kinds that count it do at creation.
pub(super) fn first_generation(object: &mut Value) {
    object_at(object, &["metadata"]).insert("generation".to_owned(), Value::from(1));
}
