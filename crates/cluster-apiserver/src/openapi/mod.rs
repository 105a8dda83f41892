//! OpenAPI documents: what each group and version can be asked, and what its objects look like.
//!
//! A document of the third version is made of one [`Version`] of the catalogue, when it is asked for: types of built-in kinds out of the
//! [facts](crate::facts), types of custom kinds out of their CRDs. It says what clients look for, and no more: which query parameters a
//! write takes, which patches there are, how lists merge, and the fields for `kubectl explain`; it has no prose. A document of the
//! second version ([`v2`]) is one of everything, in JSON or in protobuf, written type by type so that it never stands in memory as a tree.

mod paths;
mod protobuf;
mod schemas;
pub(crate) mod v2;

use serde_json::{Map, Value, json};

use crate::crd::Names;
use crate::registry::{Resource, Version};
use crate::value::{at, list_at, object_at, str_at};
use schemas::Collector;

/// Where the schemas of a document are.
const SCHEMAS: &str = "#/components/schemas/";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const GVK: &str = "x-kubernetes-group-version-kind";

/// The document of one group and version; `crds` are the CRD objects behind it.
pub(crate) fn document(version: &Version, crds: &[Value], release: &str) -> Value {
    let mut collector = Collector::default();
    let mut paths = Map::new();
    // What is measured has no schema.
    for resource in version.resources.iter().filter(|resource| !resource.is_measured()) {
        let schema = match resource.is_custom() {
            true => add_custom(&mut collector, resource, crds),
            false => collector.add_kind(&resource.group, &resource.version, &resource.kind),
        };
        for sub in &resource.subresources {
            collector.add_kind(&sub.group, &sub.version, &sub.kind);
        }
        paths::add(&mut paths, resource, &schema);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": format!("v{release}")},
        "paths": paths,
        "components": {"schemas": collector.finish()},
    })
}

/// Adds the schema of a custom kind and answers with its name.
fn add_custom(collector: &mut Collector, resource: &Resource, crds: &[Value]) -> String {
    let name = custom_name(resource);
    collector.add_type_named(OBJECT_META);
    collector.insert(&name, custom_schema(resource, crds));
    name
}

/// The schema of a custom kind, with what every resource has.
fn custom_schema(resource: &Resource, crds: &[Value]) -> Value {
    let crd = crds.iter().find(|crd| Names::of(crd).plural == resource.plural);
    let versions = crd.map_or(&[] as &[Value], |crd| list_at(crd, &["spec", "versions"]));
    let version = versions.iter().find(|version| str_at(version, &["name"]) == resource.version);
    let schema = version.and_then(|version| at(version, &["schema", "openAPIV3Schema"]));
    let mut schema = schema.cloned().unwrap_or_else(|| json!({"type": "object"}));
    let properties = object_at(&mut schema, &["properties"]);
    properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
    properties.insert("kind".to_owned(), json!({"type": "string"}));
    properties.insert("metadata".to_owned(), json!({"$ref": format!("{SCHEMAS}{OBJECT_META}")}));
    schema[GVK] = json!([gvk(&resource.group, &resource.version, &resource.kind)]);
    schema
}

/// `dev.knative.serving.v1.Service` for the Service of `serving.knative.dev`.
fn custom_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

#[cfg(test)]
mod tests;
