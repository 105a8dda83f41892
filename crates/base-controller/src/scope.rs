//! Which objects of a kind a watch covers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Selector, SelectorExt};
use kube::runtime::watcher;

/// A part of a kind: all of it, one namespace, those with certain labels, those that a field selector takes, or combinations.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    namespace: Option<String>,
    labels: Selector,
    fields: Option<String>,
}

impl Scope {
    /// Every object of the kind.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects in one namespace.
    pub fn namespace(name: impl Into<String>) -> Self {
        Self { namespace: Some(name.into()), ..Self::default() }
    }

    /// Only objects whose labels match `selector`.
    #[must_use]
    pub fn with_labels(mut self, selector: Selector) -> Self {
        self.labels = selector;
        self
    }

    /// Only objects that the field selector takes, such as `spec.nodeName=here`.
    #[must_use]
    pub fn with_fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }

    /// Whether a watch of this scope is sure to show an object with this metadata. A field selector can only be judged by the server,
    /// so it covers nothing for sure but `metadata.name` and `metadata.namespace`.
    pub fn covers(&self, meta: &ObjectMeta) -> bool {
        let in_namespace = self.namespace.is_none() || self.namespace == meta.namespace;
        let no_labels = BTreeMap::new();
        in_namespace
            && self.labels.matches(meta.labels.as_ref().unwrap_or(&no_labels))
            && self.fields.as_deref().is_none_or(|fields| fields.split(',').all(|field| takes(field, meta)))
    }

    /// The namespace that the scope is limited to.
    pub(crate) fn namespaced_to(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn watch_config(&self) -> watcher::Config {
        let mut config = watcher::Config::default();
        if !self.labels.selects_all() {
            config = config.labels_from(&self.labels);
        }
        match &self.fields {
            Some(fields) => config.fields(fields),
            None => config,
        }
    }

    /// One text per distinct scope, for registries and seeds.
    pub(crate) fn id(&self) -> String {
        format!(
            "{}?{}&{}",
            self.namespace.as_deref().unwrap_or_default(),
            self.labels,
            self.fields.as_deref().unwrap_or_default()
        )
    }
}

fn takes(field: &str, meta: &ObjectMeta) -> bool {
    match field.split_once('=') {
        Some(("metadata.name", name)) => meta.name.as_deref() == Some(name.trim_start_matches('=')),
        Some(("metadata.namespace", namespace)) => meta.namespace.as_deref() == Some(namespace.trim_start_matches('=')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Expression;

    fn meta(namespace: &str, name: &str, label: &str) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_scope_covers_what_its_watch_is_sure_to_show() {
        let labelled = || Scope::all().with_labels(Expression::Equal("app".into(), "a".into()).into());
        let rows = [
            (Scope::all(), true, "everything"),
            (Scope::namespace("one"), true, "its namespace"),
            (Scope::namespace("two"), false, "another namespace"),
            (labelled(), true, "its labels"),
            (Scope::all().with_labels(Expression::Equal("app".into(), "b".into()).into()), false, "other labels"),
            (Scope::all().with_fields("metadata.name=x"), true, "its name"),
            (Scope::all().with_fields("metadata.name=y"), false, "another name"),
            (Scope::all().with_fields("spec.nodeName=here"), false, "a field that only the server can judge"),
        ];
        for (scope, expected, case) in rows {
            assert_eq!(scope.covers(&meta("one", "x", "a")), expected, "{case}");
        }
    }
}
