//! OpenAPI documents: what each group and version can be asked, and what its objects look like.
//!
//! A document of the third version is made of one [`Version`] of the catalogue, when it is asked for: types of built-in kinds out of the
//! [facts](crate::facts), types of custom kinds out of their CRDs. It says what clients look for, and no more: which query parameters a
//! write takes, which patches there are, how lists merge, and the fields for `kubectl explain`; it has no prose. Of the second version there
//! is only the frame: its clients ask whether it is there.

mod paths;
mod schemas;

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
    for resource in &version.resources {
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
    collector.add_type_named(OBJECT_META);
    collector.insert(&name, schema);
    name
}

/// `dev.knative.serving.v1.Service` for the Service of `serving.knative.dev`.
fn custom_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// The frame of the second version's document.
pub(crate) fn frame(release: &str) -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": format!("v{release}")}, "paths": {}})
}

/// The same as gnostic's protobuf: `swagger` is field 1, `info` (title 1, version 2) field 2, `paths` field 8.
pub(crate) fn frame_protobuf(release: &str) -> Vec<u8> {
    let field = |number: u8, body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap_or_default();
        let mut bytes = vec![number << 3 | 2, length];
        bytes.extend_from_slice(body);
        bytes
    };
    let info = [field(1, b"Kubernetes"), field(2, format!("v{release}").as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}

#[cfg(test)]
mod tests;
