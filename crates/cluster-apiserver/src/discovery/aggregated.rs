//! Discovery in one document: every group, version and resource.

use serde_json::{Value, json};

use crate::negotiate::accept::clauses;
use crate::registry::{Catalogue, Group, Resource, Subresource, Version};

/// A version of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V2Beta1,
}

impl Form {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }
}

/// Which version of the document the client takes before any other form; `None` for the first form.
pub(super) fn wanted(accept: Option<&str>) -> Option<Form> {
    clauses(accept?).iter().find_map(|clause| {
        let is_json = clause.is("application/json") || clause.is("*/*") || clause.is("application/*");
        if !is_json {
            return None;
        }
        match (clause.parameter("as"), clause.parameter("v")) {
            ("APIGroupDiscoveryList", "v2") => Some(Some(Form::V2)),
            ("APIGroupDiscoveryList", "v2beta1") => Some(Some(Form::V2Beta1)),
            ("", _) => Some(None),
            _ => None,
        }
    })?
}

/// The document of the core group, or of all others.
pub(super) fn document(catalogue: &Catalogue, form: Form, is_core: bool) -> Value {
    let groups = catalogue.groups.iter().filter(|group| group.name.is_empty() == is_core);
    let items: Vec<Value> = groups.map(group).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": form.api_version(), "metadata": {}, "items": items})
}

fn group(group: &Group) -> Value {
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn version(version: &Version) -> Value {
    let resources: Vec<Value> = version.resources.iter().map(|of| resource(of)).collect();
    json!({"version": version.name, "resources": resources, "freshness": "Current"})
}

fn resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": if resource.is_namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        entry["subresources"] = resource.subresources.iter().map(subresource).collect();
    }
    entry
}

fn subresource(sub: &Subresource) -> Value {
    json!({
        "subresource": sub.name,
        "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
        "verbs": sub.verbs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_taken() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(wanted(Some(&format!("{v2},application/json"))), Some(Form::V2));
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(wanted(Some(beta)), Some(Form::V2Beta1));
        assert_eq!(wanted(Some("application/json")), None);
        assert_eq!(wanted(None), None);
    }
}
