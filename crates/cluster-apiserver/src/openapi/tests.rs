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

/// Everything that is built in, and one custom kind.
fn all(form: v2::Form) -> Vec<u8> {
    let crd = json!({"spec": {
        "group": "g.io", "scope": "Namespaced", "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
            "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "any": {"x-kubernetes-preserve-unknown-fields": true}},
        }}}}}],
    }});
    let definition = crate::crd::Definition::compile(&crd);
    let names = definition.names.clone();
    let custom = definition.versions.into_iter().map(|v| Arc::new(Resource::custom(&names, v))).collect();
    let built_in = kinds::builtins().iter().map(|kind| Arc::new(Resource::builtin(kind))).collect();
    let version = |resources| Version { name: "v1".to_owned(), resources, crds: Vec::new() };
    v2::write(&[(&version(built_in), Vec::new()), (&version(custom), vec![crd])], "1.2.3", form)
}

#[test]
fn the_second_version_has_every_type_once() {
    let bytes = all(v2::Form::Json);
    let document: Value = serde_json::from_slice(&bytes).expect("json");
    let definitions = document["definitions"].as_object().expect("definitions");
    assert!(definitions.len() > 400, "{}", definitions.len());
    let mut names = BTreeSet::new();
    references(&document, &mut names);
    for name in names {
        let name = name.trim_start_matches("#/definitions/");
        assert!(definitions.contains_key(name), "{name}");
    }
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
    let strategy = &definitions["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentStrategy");
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(definitions["io.k8s.api.apps.v1.Deployment"][GVK], json!([gvk("apps", "v1", "Deployment")]));
    assert_eq!(
        definitions["io.g.v1.Foo"]["properties"]["spec"]["properties"]["any"],
        json!({"x-kubernetes-preserve-unknown-fields": true})
    );
    let patch = &document["paths"]["/apis/g.io/v1/namespaces/{namespace}/foos/{name}"]["patch"];
    assert!(list_at(patch, &["parameters"]).iter().any(|p| p["name"] == "dryRun" && p["type"] == "string"));
    assert_eq!(patch[GVK], gvk("g.io", "v1", "Foo"));
    let text = String::from_utf8(bytes).expect("text");
    assert_eq!(text.matches("\"io.k8s.api.core.v1.PodSpec\":{").count(), 1);
}

#[test]
fn the_protobuf_begins_as_gnostic_s() {
    let bytes = all(v2::Form::Protobuf);
    assert!(bytes.starts_with(b"\x0a\x032.0\x12\x14\x0a\x0aKubernetes\x12\x06v1.2.3\x42"));
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("io.g.v1.Foo") && holds("x-kubernetes-patch-merge-key") && holds("fieldValidation"));
    assert!(holds("[{\"group\":\"g.io\",\"kind\":\"Foo\",\"version\":\"v1\"}]"));
}
