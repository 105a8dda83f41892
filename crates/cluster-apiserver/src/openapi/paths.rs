//! What can be asked of a resource: its paths, their methods, and the parameters and bodies that they take.

use serde_json::{Map, Value, json};

use super::{GVK, SCHEMAS, gvk};
use crate::registry::Resource;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// Adds the paths of a resource, whose objects have the schema `schema`.
pub(super) fn add(paths: &mut Map<String, Value>, resource: &Resource, schema: &str) {
    let base = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = &resource.plural;
    let own = Described { resource, schema };
    if !resource.is_namespaced {
        paths.insert(format!("{base}/{plural}"), own.collection(&["list", "create", "deletecollection"]));
        paths.insert(format!("{base}/{plural}/{{name}}"), own.object());
        return;
    }
    if resource.verbs.contains(&"list") {
        paths.insert(format!("{base}/{plural}"), own.collection(&["list"]));
    }
    let inside = format!("{base}/namespaces/{{namespace}}/{plural}");
    paths.insert(format!("{inside}/{{name}}"), own.object());
    paths.insert(inside, own.collection(&["list", "create", "deletecollection"]));
}

/// A resource and the name of its schema.
struct Described<'a> {
    resource: &'a Resource,
    schema: &'a str,
}

impl Described<'_> {
    fn collection(&self, verbs: &[&str]) -> Value {
        let mut path = Map::new();
        for verb in verbs.iter().filter(|verb| self.resource.verbs.contains(verb)) {
            let (method, operation) = match *verb {
                "create" => ("post", self.operation("post", &WRITE_PARAMETERS, &[JSON, YAML])),
                "deletecollection" => {
                    ("delete", self.operation("deletecollection", &["dryRun", "fieldSelector", "labelSelector"], &[]))
                }
                _ => ("get", self.operation("list", &LIST_PARAMETERS, &[])),
            };
            path.insert(method.to_owned(), operation);
        }
        Value::Object(path)
    }

    fn object(&self) -> Value {
        let mut path = Map::new();
        for verb in self.resource.verbs {
            let (method, operation) = match *verb {
                "get" => ("get", self.operation("get", &["pretty"], &[])),
                "update" => ("put", self.operation("put", &WRITE_PARAMETERS, &[JSON, YAML])),
                "patch" => ("patch", self.operation("patch", &PATCH_PARAMETERS, self.patches())),
                "delete" => ("delete", self.operation("delete", &DELETE_PARAMETERS, &[])),
                _ => continue,
            };
            path.insert(method.to_owned(), operation);
        }
        Value::Object(path)
    }

    fn patches(&self) -> &'static [&'static str] {
        match self.resource.is_custom() {
            true => &[JSON_PATCH, MERGE_PATCH],
            false => &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH],
        }
    }

    fn operation(&self, action: &str, parameters: &[&str], bodies: &[&str]) -> Value {
        let Resource { group, version, kind, .. } = self.resource;
        let parameters: Vec<Value> = parameters.iter().map(|name| parameter(name)).collect();
        let mut operation = json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            GVK: gvk(group, version, kind),
        });
        if !bodies.is_empty() {
            let is_patch = action == "patch";
            let content = bodies.iter().map(|media_type| ((*media_type).to_owned(), self.body(is_patch)));
            operation["requestBody"] = json!({"content": content.collect::<Map<_, _>>(), "required": true});
        }
        operation
    }

    fn body(&self, is_patch: bool) -> Value {
        if is_patch || self.schema.is_empty() {
            return json!({"schema": {}});
        }
        json!({"schema": {"$ref": format!("{SCHEMAS}{}", self.schema)}})
    }
}

const WRITE_PARAMETERS: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH_PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE_PARAMETERS: [&str; 3] = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];
const LIST_PARAMETERS: [&str; 6] = ["continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"];

fn parameter(name: &str) -> Value {
    let kind = match name {
        "force" | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" => "integer",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}
