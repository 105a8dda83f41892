//! Discovery in its first form: a document per group and per version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::{Catalogue, Group, Resource, Subresource};

/// `/api`.
pub(super) fn core(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub(super) fn list(catalogue: &Catalogue) -> Value {
    let groups: Vec<Value> = catalogue.groups.iter().filter(|group| !group.name.is_empty()).map(entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(super) fn group(catalogue: &Catalogue, name: &str) -> Option<Value> {
    let mut group = entry(catalogue.group(name).filter(|group| !group.name.is_empty())?);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn entry(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{}/{}", group.name, version.name), "version": version.name}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(super) fn resources(catalogue: &Catalogue, group: &str, version: &str) -> Option<Value> {
    let resources = &catalogue.version(group, version)?.resources;
    let mut list: Vec<Value> = Vec::new();
    for resource in resources {
        list.push(resource_entry(resource));
        list.extend(resource.subresources.iter().map(|sub| subresource_entry(resource, sub)));
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": list}))
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.is_namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.is_virtual() {
        entry["storageVersionHash"] = storage_version_hash(resource).into();
    }
    entry
}

fn storage_version_hash(resource: &Resource) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", resource.group, resource.version, resource.kind));
    STANDARD.encode(digest.first_chunk::<8>().copied().unwrap_or_default())
}

fn subresource_entry(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.is_namespaced,
        "kind": sub.kind, "verbs": sub.verbs,
    });
    if (sub.group.as_str(), sub.version.as_str()) != (resource.group.as_str(), resource.version.as_str()) {
        entry["group"] = json!(sub.group);
        entry["version"] = json!(sub.version);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_that_kubernetes_publishes() {
        let kind = crate::kinds::find("", "v1", "configmaps").expect("kind");
        assert_eq!(storage_version_hash(&Resource::builtin(kind)), "qFsyl6wFWjQ=");
        let kind = crate::kinds::find("apps", "v1", "deployments").expect("kind");
        assert_eq!(storage_version_hash(&Resource::builtin(kind)), "8aSe+NMegvE=");
    }
}
