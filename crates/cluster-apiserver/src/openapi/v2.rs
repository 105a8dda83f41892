//! The document of the second version: one of all types and paths, for clients from before the third (kubectl up to 1.26, Helm 3).
//!
//! It is made from the third version's schemas, one at a time, without what the second cannot say: where a value may be one of several
//! things it says less, because its clients refuse what it does not allow.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{GVK, SCHEMAS, custom_name, custom_schema, gvk, paths, protobuf, schemas};
use crate::facts;
use crate::registry::{Resource, Version};
use crate::value::{as_object, list_at, str_at};

const DEFINITIONS: &str = "#/definitions/";

/// How the document is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

/// Writes the document; `versions` are all that is served, each with the CRD objects behind it.
pub(crate) fn write(versions: &[(&Version, Vec<Value>)], release: &str, form: Form) -> Vec<u8> {
    let mut parts = Parts { form, definitions: Vec::new(), paths: Vec::new() };
    parts.built_in_types();
    for (version, crds) in versions {
        for resource in version.resources.iter().filter(|resource| !resource.is_measured()) {
            parts.resource(resource, crds);
        }
    }
    let info = json!({"title": "Kubernetes", "version": format!("v{release}")});
    match form {
        Form::Protobuf => protobuf::document(&info, &parts.paths, &parts.definitions),
        Form::Json => {
            let mut out = br#"{"swagger":"2.0","info":"#.to_vec();
            out.extend(info.to_string().into_bytes());
            for (name, part) in [("paths", parts.paths), ("definitions", parts.definitions)] {
                out.extend(format!(",\"{name}\":{{").into_bytes());
                out.extend(part);
                out.push(b'}');
            }
            out.push(b'}');
            out
        }
    }
}

struct Parts {
    form: Form,
    definitions: Vec<u8>,
    paths: Vec<u8>,
}

impl Parts {
    fn built_in_types(&mut self) {
        let mut kinds: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (group, version, kind, of) in facts::kinds() {
            kinds.entry(of.name()).or_default().push(gvk(group, version, kind));
        }
        for of in facts::types() {
            let mut schema = schemas::schema_of(of);
            if let Some(kinds) = kinds.get(of.name()) {
                schema[GVK] = Value::from(kinds.clone());
            }
            self.define(of.name(), schema);
        }
        for (name, schema) in schemas::all_shared() {
            self.define(&name, schema);
        }
    }

    fn define(&mut self, name: &str, mut schema: Value) {
        simplify(&mut schema);
        match self.form {
            Form::Json => append(&mut self.definitions, name, &schema),
            Form::Protobuf => protobuf::definition(&mut self.definitions, name, &schema),
        }
    }

    fn resource(&mut self, resource: &Resource, crds: &[Value]) {
        let name = match resource.is_custom() {
            true => custom_name(resource),
            false => facts::type_of_kind(&resource.group, &resource.version, &resource.kind)
                .map(|of| of.name().to_owned())
                .unwrap_or_default(),
        };
        if resource.is_custom() {
            self.define(&name, custom_schema(resource, crds));
        }
        let mut items = Map::new();
        paths::add(&mut items, resource, &name);
        for (path, mut item) in items {
            as_object(&mut item).values_mut().for_each(operation);
            match self.form {
                Form::Json => append(&mut self.paths, &path, &item),
                Form::Protobuf => protobuf::path(&mut self.paths, &path, &item),
            }
        }
    }
}

fn append(out: &mut Vec<u8>, name: &str, value: &Value) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend(format!("{}:{value}", Value::from(name)).into_bytes());
}

/// A parameter has its type beside its name, and a body is a parameter.
fn operation(operation: &mut Value) {
    let mut parameters: Vec<Value> = list_at(operation, &["parameters"])
        .iter()
        .map(|parameter| {
            let kind = &parameter["schema"]["type"];
            json!({"name": parameter["name"], "in": parameter["in"], "type": kind, "uniqueItems": true})
        })
        .collect();
    let fields = as_object(operation);
    if let Some(body) = fields.remove("requestBody") {
        let contents = body["content"].as_object().cloned().unwrap_or_default();
        let mut schema = contents.values().next().map(|content| content["schema"].clone()).unwrap_or_default();
        simplify(&mut schema);
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        fields.insert("consumes".to_owned(), contents.keys().cloned().collect());
    }
    fields.insert("parameters".to_owned(), parameters.into());
}

/// Says what the second version can say of a schema.
fn simplify(schema: &mut Value) {
    let is_int_or_string = str_at(schema, &["format"]) == "int-or-string";
    let is_quantity = schema.get("oneOf").is_some() && schema.get("type").is_none();
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(reference) = fields.get("allOf").and_then(|all| all.pointer("/0/$ref")).cloned() {
        fields.insert("$ref".to_owned(), reference);
    }
    if let Some(Value::String(reference)) = fields.get_mut("$ref") {
        *reference = reference.replace(SCHEMAS, DEFINITIONS);
    }
    for name in ["allOf", "anyOf", "oneOf", "not", "default", "x-kubernetes-validations"] {
        fields.remove(name);
    }
    let is_free = fields.remove("nullable") == Some(Value::Bool(true))
        || fields.contains_key("x-kubernetes-preserve-unknown-fields")
        || fields.contains_key("x-kubernetes-int-or-string");
    if is_free {
        for name in ["type", "items", "properties", "additionalProperties", "required", "format", "enum"] {
            fields.remove(name);
        }
    } else if is_int_or_string || is_quantity {
        fields.insert("type".to_owned(), "string".into());
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(name) {
            simplify(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_second_version_cannot_say_is_left_out() {
        let simple = |mut schema: Value| {
            simplify(&mut schema);
            schema
        };
        assert_eq!(
            simple(
                json!({"allOf": [{"$ref": "#/components/schemas/a.B"}], "default": {}, "x-kubernetes-patch-strategy": "merge"})
            ),
            json!({"$ref": "#/definitions/a.B", "x-kubernetes-patch-strategy": "merge"})
        );
        assert_eq!(
            simple(
                json!({"type": "object", "description": "d", "nullable": true, "properties": {"a": {"type": "string"}}})
            ),
            json!({"description": "d"})
        );
        assert_eq!(simple(json!({"oneOf": [{"type": "string"}, {"type": "number"}]})), json!({"type": "string"}));
        let one_of = json!({"type": "object", "oneOf": [{"required": ["a"]}], "properties": {"a": {"type": "string"}}});
        assert_eq!(simple(one_of), json!({"type": "object", "properties": {"a": {"type": "string"}}}));
        assert_eq!(
            simple(
                json!({"type": "array", "items": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]}})
            ),
            json!({"type": "array", "items": {"x-kubernetes-int-or-string": true}})
        );
    }
}
