//! What a request is by its method and path: its verb, its resource, whether its sender may.

use std::sync::Arc;

use http::Method;

use super::path::ResourcePath;
use super::query::Query;
use crate::authz::Attributes;
use crate::core::Core;
use crate::identity::Caller;
use crate::registry::Resource;
use crate::selector::FieldSelector;
use crate::status::{Result, StatusError};

/// The verb that the rules know a request by.
pub(super) fn verb(method: &Method, path: &ResourcePath, query: &Query) -> &'static str {
    let is_collection = path.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if is_collection => "deletecollection",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD if path.is_watch => "watch",
        Method::GET | Method::HEAD if is_collection && query.flag("watch") => "watch",
        Method::GET | Method::HEAD if is_collection => "list",
        Method::GET | Method::HEAD => "get",
        _ => "",
    }
}

/// What authorization said, which is recorded.
pub(super) fn decided(caller: &Caller, answer: Result<()>) -> Result<()> {
    if let Some(trail) = &caller.trail {
        let decision = if answer.is_ok() { "allow" } else { "forbid" };
        trail.annotate("authorization.k8s.io/decision", decision);
    }
    answer
}

pub(super) fn authorize(core: &Core, caller: &Caller, verb: &str, path: &ResourcePath, query: &Query) -> Result<()> {
    // A list or watch of one name is allowed to whoever may read that name. Other verbs do not go by the selector.
    let selector = match verb {
        "list" | "watch" if path.name.is_empty() => FieldSelector::parse(query.text("fieldSelector"), |_| None).ok(),
        _ => None,
    };
    let name = selector.as_ref().and_then(FieldSelector::name).unwrap_or(&path.name);
    let ask = Attributes {
        verb,
        group: &path.group,
        resource: &path.plural,
        subresource: &path.subresource,
        namespace: &path.namespace,
        name,
        path: "",
    };
    if core.rbac.allows(&caller.identity, &ask) {
        return Ok(());
    }
    Err(Attributes { name: &path.name, ..ask }.forbidden(&caller.identity))
}

/// The resource of a path; `None` if there is not even such a group and version.
pub(super) fn find(core: &Core, verb: &str, path: &ResourcePath) -> Result<Option<Arc<Resource>>> {
    let catalogue = core.registry.catalogue();
    let Some(resource) = catalogue.find(&path.group, &path.version, &path.plural) else {
        return match catalogue.version(&path.group, &path.version) {
            Some(_) => Err(StatusError::no_such_resource()),
            None => Ok(None),
        };
    };
    let is_of_namespace = !path.namespace.is_empty() && !resource.is("", "namespaces");
    let is_misplaced = match resource.is_namespaced {
        true => path.namespace.is_empty() && !path.name.is_empty(),
        false => is_of_namespace,
    };
    if is_misplaced || path.has_more && path.subresource != "proxy" {
        return Err(StatusError::no_such_resource());
    }
    if verb == "create" && catalogue.is_ending(resource) {
        return Err(StatusError::ending(&path.group, &path.plural, verb));
    }
    Ok(Some(Arc::clone(resource)))
}

pub(super) fn check_verb(resource: &Resource, path: &ResourcePath, method: &Method, verb: &str) -> Result<()> {
    if matches!(*method, Method::HEAD | Method::OPTIONS) {
        return Err(StatusError::method_not_allowed());
    }
    if !path.subresource.is_empty() {
        let Some(sub) = resource.subresource(&path.subresource) else {
            let is_custom = resource.is_custom();
            return Err(if is_custom { resource.not_found(&path.name) } else { StatusError::no_such_resource() });
        };
        return if sub.verbs.contains(&verb) { Ok(()) } else { Err(StatusError::method_not_allowed()) };
    }
    let is_on_collection = matches!(verb, "create" | "list" | "watch" | "deletecollection");
    let fits = match path.name.is_empty() {
        true => is_on_collection && (verb != "create" || path.namespace.is_empty() != resource.is_namespaced),
        false => !is_on_collection || path.is_watch,
    };
    // Collections over all namespaces can be read, not written.
    let is_everywhere = resource.is_namespaced && path.namespace.is_empty();
    if !fits || (is_everywhere && verb == "deletecollection") || !resource.verbs.contains(&verb) {
        return Err(StatusError::method_not_allowed());
    }
    Ok(())
}
