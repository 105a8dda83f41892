//! The built-in kinds: what the server knows about each of them beyond its fields.
//!
//! A [`Kind`] is a row of a static table ([`builtins`]): names, scope, verbs, subresources, and the [`Strategy`] with
//! the behaviour that differs from kind to kind (defaults, what a write may touch, validation). The server around it
//! is generic: it finds the row for a request and calls the hooks in the order that [`before_create`] and
//! [`before_update`] fix. There is no handler per kind.
//!
//! The life of a written object, with what this module contributes:
//! ```text
//! decode (strict, proto) → canonical value → [`Strategy::default`] → [`Strategy::admit`] → admission chain
//!   → [`before_create`] / [`before_update`] (prepare, validate, canonicalize) → store
//! ```
//!
//! Everything here is pure: values in, values out; the time, other objects and the identity come in as arguments.
//! Custom kinds do not stand here: they are objects, and have a schema of their own.

mod autoscaling;
mod batch;
mod check;
mod config;
pub mod defaults;
mod event;
mod extensions;
mod internal;
mod lease;
mod limits;
pub mod metadata;
mod namespace;
mod networking;
mod node;
mod plain;
mod pod;
mod quota_scope;
mod rbac;
mod registry;
mod resources;
mod rules;
mod scheduling;
pub(crate) mod selector;
pub mod service;
mod storage;
mod strategy;
pub(crate) mod webhook;
mod workloads;

use serde_json::Value;

pub use registry::{builtins, measured};
pub use rules::{Generation, Rules};
pub use strategy::{
    Admission, Denied, Dependents, Lookup, NameRule, NoLookup, Operation, Strategy, before_create, before_update,
};

/// The static description of a built-in kind in one version.
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version, such as `v1`.
    pub version: &'static str,
    /// The kind's name, such as `Deployment`.
    pub kind: &'static str,
    /// The resource's name in paths, such as `deployments`.
    pub plural: &'static str,
    /// The singular name, such as `deployment`.
    pub singular: &'static str,
    /// Names that kubectl accepts instead.
    pub short_names: &'static [&'static str],
    /// Groups of resources that kubectl asks for together, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub scope: Scope,
    /// What clients may do, in alphabetical order.
    pub verbs: &'static [&'static str],
    /// What stands below an object in paths, in alphabetical order.
    pub subresources: &'static [Subresource],
    /// Where objects of this kind are kept.
    pub storage: Storage,
    /// Fields that a field selector may name besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [SelectableField],
    /// The behaviour that differs from other kinds.
    pub strategy: &'static dyn Strategy,
}

/// Whether objects of a kind live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In one.
    Namespaced,
    /// In none.
    Cluster,
}

/// A resource below an object, such as `deployments/scale`.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    /// The path segment, such as `scale`.
    pub name: &'static str,
    /// Group of the body's kind.
    pub group: &'static str,
    /// Version of the body's kind.
    pub version: &'static str,
    /// The body's kind.
    pub kind: &'static str,
    /// What clients may do, in alphabetical order.
    pub verbs: &'static [&'static str],
}

/// Where objects of a kind are kept.
#[derive(Clone, Copy)]
pub enum Storage {
    /// As they are, in this group and version.
    Own,
    /// As objects of another kind of the table; this row is a second view of them. A write goes through this row's own
    /// strategy, in this row's version, with the old object brought into it, and is converted last.
    Shared {
        /// Group of the stored kind.
        group: &'static str,
        /// Version of the stored kind.
        version: &'static str,
        /// From this version to the stored one.
        to_stored: fn(&Value) -> Value,
        /// From the stored version to this one.
        from_stored: fn(&Value) -> Value,
    },
    /// Nowhere: a create is a question and its answer.
    Virtual,
    /// Nowhere: a read is a measurement ([`measures`](crate::measures)).
    Measured,
}

/// A field that a field selector may name.
#[derive(Clone, Copy)]
pub struct SelectableField {
    /// The selector's key, such as `spec.nodeName`.
    pub name: &'static str,
    /// The field's value in an object, empty if it is not set.
    pub value: fn(&Value) -> String,
}

impl Kind {
    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind of a list of these objects.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The name in error messages: `deployments.apps`, or the plural alone in the core group.
    pub fn qualified_plural(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// Whether objects live in a namespace.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The value of a selectable field in `object`; `None` if a field selector may not name it.
    pub fn field_value(&self, name: &str, object: &Value) -> Option<String> {
        let metadata = |key: &str| crate::value::str_at(object, &["metadata", key]).to_owned();
        match name {
            "metadata.name" => Some(metadata("name")),
            "metadata.namespace" if self.is_namespaced() => Some(metadata("namespace")),
            "metadata.namespace" => Some(String::new()),
            _ => self.selectable_fields.iter().find(|f| f.name == name).map(|f| (f.value)(object)),
        }
    }

    /// Whether a field selector may name the field.
    pub fn is_selectable(&self, name: &str) -> bool {
        matches!(name, "metadata.name" | "metadata.namespace") || self.selectable_fields.iter().any(|f| f.name == name)
    }
}

/// `deployments.apps`, or the plural alone in the core group.
pub fn qualify(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// The row for a path's group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    builtins().iter().find(|k| k.plural == plural && k.group == group && k.version == version)
}

/// The row for an object's group, version and kind.
pub fn find_by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    builtins().iter().find(|k| k.kind == kind && k.group == group && k.version == version)
}

#[cfg(test)]
mod tests;
