use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::kinds;

fn built_in(group: &str, name: &str) -> Value {
    let kinds = kinds::builtins().iter().filter(|kind| kind.group == group && kind.version == name);
    let resources = kinds.map(|kind| Arc::new(Resource::builtin(kind))).collect();
    document(&Version { name: name.to_owned(), resources, crds: Vec::new() }, &[], "1.2.3")
}

/// The names of all schemas that a value refers to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                found.insert(reference.trim_start_matches(SCHEMAS).to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn what_is_referred_to_is_there() {
    let versions: BTreeSet<_> = kinds::builtins().iter().map(|kind| (kind.group, kind.version)).collect();
    for (group, version) in versions {
        let document = built_in(group, version);
        let mut names = BTreeSet::new();
        references(&document, &mut names);
        assert!(!names.is_empty(), "{group}/{version}");
        for name in names {
            assert!(document["components"]["schemas"][&name].is_object(), "{group}/{version}: {name}");
        }
    }
}

#[test]
fn clients_find_what_they_look_for() {
    let apps = built_in("apps", "v1");
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch[GVK], gvk("apps", "v1", "Deployment"));
    let names: Vec<_> = list_at(patch, &["parameters"]).iter().map(|p| str_at(p, &["name"])).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let schemas = &apps["components"]["schemas"];
    assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"][GVK], json!([gvk("apps", "v1", "Deployment")]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let strategy = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(strategy["allOf"][0]["$ref"], format!("{SCHEMAS}io.k8s.api.apps.v1.DeploymentStrategy"));
}

#[test]
fn custom_kinds_bring_their_schema() {
    let crd = json!({"spec": {
        "group": "g.io", "scope": "Namespaced",
        "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "description": "What it should be."}}}}}],
    }});
    let definition = crate::crd::Definition::compile(&crd);
    let names = definition.names.clone();
    let resources = definition.versions.into_iter().map(|v| Arc::new(Resource::custom(&names, v))).collect();
    let document = document(&Version { name: "v1".to_owned(), resources, crds: Vec::new() }, &[crd], "1.2.3");
    let schema = &document["components"]["schemas"]["io.g.v1.Foo"];
    assert_eq!(schema["properties"]["spec"]["description"], "What it should be.");
    assert_eq!(schema[GVK], json!([gvk("g.io", "v1", "Foo")]));
    assert!(document["components"]["schemas"][OBJECT_META].is_object());
    let patch = &document["paths"]["/apis/g.io/v1/namespaces/{namespace}/foos/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_null());
}

#[test]
fn the_frame_is_what_gnostic_reads() {
    let expected = b"\x0a\x032.0\x12\x13\x0a\x0aKubernetes\x12\x05v1.32\x42\x00";
    assert_eq!(frame_protobuf("1.32"), expected);
}
