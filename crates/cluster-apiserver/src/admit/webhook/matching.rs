//! Whether a webhook is asked of a write, and in which version: rules, selectors, equivalent resources.

use std::sync::Arc;

use serde_json::Value;

use super::Question;
use super::hooks::{Hook, Rule};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::store::{Labels, ObjectKey, TableName};

/// A resource as rules name it.
struct Named<'a> {
    group: &'a str,
    version: &'a str,
    plural: &'a str,
}

impl Question<'_> {
    /// In which version a webhook is asked of the object, if it is.
    ///
    /// # Errors
    /// 404 if it goes by the labels of a namespace that is not there, 500 if a selector cannot be read.
    pub(super) fn asked_by(&self, hook: &Hook, object: &Value, old: &Value) -> Result<Option<Arc<Resource>>> {
        // Whom the rules do not concern no selector can hold up.
        let Some(resource) = self.resource_for(hook) else { return Ok(None) };
        let namespaces = self.namespace_matches(hook, object);
        if matches!(namespaces, Ok(false)) || !self.object_matches(hook, object, old)? {
            return Ok(None);
        }
        namespaces.map(|_| Some(resource))
    }

    /// Namespaces go by their own labels, other objects of cluster scope are always meant.
    fn namespace_matches(&self, hook: &Hook, object: &Value) -> Result<bool> {
        let is_namespace = self.resource.is("", "namespaces");
        if self.namespace.is_empty() && !is_namespace {
            return Ok(true);
        }
        let selector = hook.namespaces.as_ref().ok_or_else(unreadable)?;
        if selector.is_everything() {
            return Ok(true);
        }
        if is_namespace && self.subresource.is_empty() && !object.is_null() {
            return Ok(selector.matches(&Labels::of(object)));
        }
        let key = ObjectKey::new("", self.namespace());
        let stored = self.core.store.get(&TableName::from("namespaces"), &key);
        let stored = stored.ok_or_else(|| StatusError::not_found("", "namespaces", self.namespace()))?;
        Ok(selector.matches(&stored.labels))
    }

    fn object_matches(&self, hook: &Hook, object: &Value, old: &Value) -> Result<bool> {
        let selector = hook.objects.as_ref().ok_or_else(unreadable)?;
        let fits = |object: &Value| !object.is_null() && selector.matches(&Labels::of(object));
        Ok(selector.is_everything() || fits(object) || fits(old))
    }

    /// The resource that the webhook's rules name: the one that is written, else the same objects in another version or group.
    fn resource_for(&self, hook: &Hook) -> Option<Arc<Resource>> {
        let is_meant = |rule: &Rule, resource: &Resource| {
            let named = Named { group: &resource.group, version: &resource.version, plural: &resource.plural };
            self.matches(rule, &named)
        };
        let catalogue = self.core.registry.catalogue();
        let written = catalogue.find(&self.resource.group, &self.resource.version, &self.resource.plural)?;
        if hook.rules.iter().any(|rule| is_meant(rule, written)) {
            return Some(Arc::clone(written));
        }
        if hook.is_exact {
            return None;
        }
        let equivalent: Vec<&Arc<Resource>> = catalogue.equivalents(written, self.subresource).collect();
        hook.rules
            .iter()
            .find_map(|rule| equivalent.iter().find(|other| is_meant(rule, other)).map(|it| Arc::clone(it)))
    }

    fn matches(&self, rule: &Rule, named: &Named<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let is_of_cluster = self.resource.is("", "namespaces") || self.namespace.is_empty();
        let is_in_scope = match rule.scope.as_str() {
            "Namespaced" => !is_of_cluster,
            "Cluster" => is_of_cluster,
            _ => true,
        };
        let is_resource = |item: &String| {
            let (resource, subresource) = item.split_once('/').unwrap_or((item, ""));
            (resource == "*" || resource == named.plural) && (subresource == "*" || subresource == self.subresource)
        };
        is_in_scope
            && has(&rule.operations, self.operation)
            && has(&rule.groups, named.group)
            && has(&rule.versions, named.version)
            && rule.resources.iter().any(is_resource)
    }
}

fn unreadable() -> StatusError {
    StatusError::internal("the selector of a webhook cannot be read")
}
