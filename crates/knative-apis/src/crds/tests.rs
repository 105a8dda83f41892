//! The definitions against Knative's own, against Kubernetes' types and against the files.
//!
//! `testdata/crd-structure.txt` holds the facts of Knative's definitions (v1.23) without their
//! prose: names, columns, and each field with its type, default and requirements.

use super::*;
use crate::serving::v1::RevisionSpec;
use serde_json::{Map, json};
use std::collections::BTreeSet;
use std::fmt::Write;

fn list(value: &Value, separator: &str) -> String {
    let texts: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    texts.join(separator)
}

/// The facts of our definitions, one a line.
fn facts() -> String {
    let mut out = String::new();
    for crd in crds() {
        let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
        let labels = crd["metadata"]["labels"].as_object().expect("labels").clone();
        let labels: std::collections::BTreeMap<String, Value> = labels.into_iter().collect();
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().expect("text"))).collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        writeln!(
            out,
            "# {} {} {} short={} categories={} labels={} singular={}",
            text(&crd["metadata"]["name"]),
            text(&spec["scope"]),
            text(&names["kind"]),
            list(&names["shortNames"], ","),
            list(&names["categories"], ","),
            labels.join(","),
            text(&names["singular"]),
        )
        .expect("a line");
        let version = &spec["versions"][0];
        assert!(
            version["served"] == true && version["storage"] == true && version["subresources"]["status"].is_object()
        );
        writeln!(out, "@ {}", text(&version["name"])).expect("a line");
        for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
            let name = text(&column["name"]).replace(' ', "_");
            writeln!(out, "% {name} {} {}", text(&column["type"]), text(&column["jsonPath"])).expect("a line");
        }
        walk(&version["schema"]["openAPIV3Schema"], "", &mut out);
    }
    out
}

fn walk(schema: &Value, path: &str, out: &mut String) {
    if path == ".spec.template.spec" {
        return writeln!(out, "{path} = revisions.serving.knative.dev .spec").expect("a line");
    }
    let schema: &Map<String, Value> = schema.as_object().expect("a schema");
    let int_or_string = schema.contains_key("x-kubernetes-int-or-string");
    let type_ = schema.get("type").and_then(Value::as_str).unwrap_or("-");
    let mut line = format!("{path} {}", if int_or_string { "int-or-string" } else { type_ });
    for fact in ["format", "pattern"] {
        if let Some(value) = schema.get(fact).and_then(Value::as_str) {
            write!(line, " {fact}={value}").expect("a fact");
        }
    }
    if let Some(default) = schema.get("default") {
        write!(line, " default={default}").expect("a fact");
    }
    if let Some(required) = schema.get("required") {
        let names: BTreeSet<&str> = required.as_array().expect("names").iter().filter_map(Value::as_str).collect();
        write!(line, " required={}", names.into_iter().collect::<Vec<_>>().join(",")).expect("a fact");
    }
    for fact in ["list-map-keys", "list-type", "map-type", "preserve-unknown-fields"] {
        match schema.get(&format!("x-kubernetes-{fact}")) {
            Some(Value::String(value)) => write!(line, " {fact}={value}").expect("a fact"),
            Some(Value::Array(values)) => {
                write!(line, " {fact}={}", list(&Value::from(values.clone()), ",")).expect("a fact");
            }
            Some(value) => write!(line, " {fact}={value}").expect("a fact"),
            None => {}
        }
    }
    let known = [
        "additionalProperties",
        "anyOf",
        "default",
        "description",
        "format",
        "items",
        "pattern",
        "properties",
        "required",
        "type",
    ];
    for name in schema.keys() {
        assert!(
            known.contains(&name.as_str()) || name.starts_with("x-kubernetes-"),
            "{path}: {name} is not structural"
        );
    }
    writeln!(out, "{line}").expect("a line");
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties.iter().collect::<std::collections::BTreeMap<_, _>>() {
            walk(property, &format!("{path}.{name}"), out);
        }
    }
    for (nested, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(nested) = schema.get(nested) {
            walk(nested, &format!("{path}{mark}"), out);
        }
    }
}

#[test]
fn the_structure_is_knatives() {
    let ours = facts();
    let ours: Vec<&str> = ours.lines().collect();
    let theirs: Vec<&str> = include_str!("../../testdata/crd-structure.txt").lines().collect();
    // Lines are compared under the kind they belong to.
    let under_kind = |lines: &[&str]| -> BTreeSet<String> {
        let mut kind = String::new();
        let mut all = BTreeSet::new();
        for line in lines {
            if let Some(rest) = line.strip_prefix("# ") {
                rest.split(' ').next().expect("a name").clone_into(&mut kind);
            }
            all.insert(format!("{kind} {line}"));
        }
        all
    };
    let (ours, theirs) = (under_kind(&ours), under_kind(&theirs));
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let added: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && added.is_empty(), "missing {missing:#?}\nadded {added:#?}");
    assert!(theirs.len() > 500);
}

/// A value that has every field of a schema.
fn sample(schema: &Value, path: &str) -> Value {
    if schema["x-kubernetes-preserve-unknown-fields"] == true && schema.get("properties").is_none() {
        return whole(path);
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return json!("8");
    }
    match schema["type"].as_str() {
        Some("string") => json!(format!("text {path}")),
        Some("boolean") => json!(true),
        Some("integer") => json!(7),
        Some("array") => json!([sample(&schema["items"], &format!("{path}[]"))]),
        Some("object") if schema.get("properties").is_some() => {
            let fields = schema["properties"].as_object().expect("fields");
            fields.iter().map(|(name, field)| (name.clone(), sample(field, &format!("{path}.{name}")))).collect()
        }
        Some("object") => json!({"key": sample(&schema["additionalProperties"], &format!("{path}{{}}"))}),
        other => panic!("{path}: {other:?}"),
    }
}

/// Something for each object that is kept whole.
fn whole(path: &str) -> Value {
    let last = path.rsplit('.').next().expect("a name");
    match last {
        "affinity" => json!({"nodeAffinity": {}}),
        "dnsConfig" => json!({"nameservers": ["1.1.1.1"]}),
        "hostAliases[]" => json!({"ip": "1.1.1.1"}),
        "initContainers[]" => json!({"name": "init"}),
        "securityContext" => json!({"runAsUser": 5}),
        "tolerations[]" => json!({"key": "a"}),
        "topologySpreadConstraints[]" => json!({"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "b"}),
        "fieldRef" => json!({"fieldPath": "metadata.name"}),
        "resourceFieldRef" => json!({"resource": "limits.cpu"}),
        "csi" => json!({"driver": "d"}),
        "emptyDir" => json!({"medium": "Memory"}),
        "ephemeral" => json!({"volumeClaimTemplate": {"spec": {"accessModes": ["a"]}}}),
        "hostPath" => json!({"path": "/"}),
        "image" => json!({"reference": "r"}),
        "persistentVolumeClaim" => json!({"claimName": "c"}),
        _ => panic!("{path} is kept whole and has no sample"),
    }
}

#[test]
fn every_field_of_the_pod_is_kubernetes() {
    let schema = structural::schema_of::<RevisionSpec>();
    let sample = sample(&schema, "");
    let spec: RevisionSpec = serde_json::from_value(sample.clone()).expect("a revision's spec");
    assert_eq!(serde_json::to_value(&spec).expect("json"), sample);
}

#[test]
fn the_files_are_current() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut names = BTreeSet::new();
    for (name, text) in files() {
        let stored = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(stored == text, "{name} is not current: run `cargo xtask crds`");
        let read: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert!(crds().contains(&read), "{name} does not say what it was made from");
        names.insert(name);
    }
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(names.contains(&name), "{name} is no kind's");
    }
}

#[test]
fn fields_are_explained() {
    for crd in crds() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            for (name, field) in schema["properties"][part]["properties"].as_object().into_iter().flatten() {
                assert!(field["description"].is_string(), "{} {part}.{name}", crd["metadata"]["name"]);
            }
        }
    }
}
