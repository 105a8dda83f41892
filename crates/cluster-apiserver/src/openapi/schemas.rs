//! Types of built-in kinds as schemas, each with the types that it is made of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{GVK, SCHEMAS, gvk};
use crate::facts::{self, Field, ListType, Shape, Type, ValueKind};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const UTIL: &str = "io.k8s.apimachinery.pkg.";

/// Schemas by name; a type is added once, with everything that it refers to.
#[derive(Default)]
pub(super) struct Collector {
    schemas: BTreeMap<String, Value>,
}

impl Collector {
    pub(super) fn finish(self) -> Value {
        Value::Object(self.schemas.into_iter().collect())
    }

    pub(super) fn insert(&mut self, name: &str, schema: Value) {
        self.schemas.insert(name.to_owned(), schema);
    }

    /// Adds the type of a kind and answers with its name, which is empty if there is no such type.
    pub(super) fn add_kind(&mut self, group: &str, version: &str, kind: &str) -> String {
        let Some(of) = facts::type_of_kind(group, version, kind) else { return String::new() };
        self.add(of);
        if let Some(schema) = self.schemas.get_mut(of.name()) {
            schema[GVK] = json!([gvk(group, version, kind)]);
        }
        of.name().to_owned()
    }

    pub(super) fn add_type_named(&mut self, name: &str) {
        if let Some(of) = facts::type_named(name) {
            self.add(of);
        }
    }

    /// Adds a type and all that it refers to; types that contain themselves end here.
    fn add(&mut self, of: Type) {
        let mut waiting = vec![of];
        while let Some(of) = waiting.pop() {
            if self.schemas.contains_key(of.name()) {
                continue;
            }
            for field in of.fields() {
                waiting.extend(field.message().filter(|_| field.value_kind() == ValueKind::Message));
                if let Some(name) = shared(field.value_kind()) {
                    self.schemas.entry(name).or_insert_with(|| plain(field.value_kind()));
                }
            }
            self.schemas.insert(of.name().to_owned(), schema_of(of));
        }
    }
}

/// The types that are no messages and yet have names, each with its schema.
pub(super) fn all_shared() -> impl Iterator<Item = (String, Value)> {
    use ValueKind::{FieldsV1, IntOrString, MicroTime, Quantity, RawExtension, Time};
    let kinds = [Time, MicroTime, FieldsV1, Quantity, IntOrString, RawExtension];
    kinds.into_iter().filter_map(|kind| Some((shared(kind)?, plain(kind))))
}

/// The schema of a type, which refers to others.
pub(super) fn schema_of(of: Type) -> Value {
    object(of, of.fields().map(|field| (field.name().to_owned(), property(field))).collect())
}

fn property(field: Field) -> Value {
    let one = one(field);
    let mut property = match field.shape() {
        Shape::One => one,
        Shape::List => json!({"type": "array", "items": one}),
        Shape::Map => json!({"type": "object", "additionalProperties": one}),
    };
    let beside = beside(field);
    if beside.is_empty() {
        return property;
    }
    // Nothing may stand beside a reference.
    if let Some(reference) = property.as_object_mut().and_then(|property| property.remove("$ref")) {
        property = json!({"allOf": [{"$ref": reference}]});
    }
    crate::value::as_object(&mut property).extend(beside);
    property
}

/// The schema of one value of a field.
fn one(field: Field) -> Value {
    let kind = field.value_kind();
    if let (ValueKind::Message, Some(of)) = (kind, field.message()) {
        return reference(of.name());
    }
    if let Some(name) = shared(kind) {
        return reference(&name);
    }
    let mut schema = plain(kind);
    if let Some(allowed) = field.enum_json().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        schema["enum"] = allowed;
    }
    schema
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

fn object(of: Type, properties: Map<String, Value>) -> Value {
    let required: Vec<&str> = of.fields().filter(|field| field.is_required()).map(Field::name).collect();
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if of.is_atomic() {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    schema
}

/// What is known of a field besides its type.
fn beside(field: Field) -> Map<String, Value> {
    let mut beside = Map::new();
    let mut say = |name: &str, value: Value| beside.insert(name.to_owned(), value);
    if let Some(default) = field.default_json().and_then(|text| serde_json::from_str(text).ok()) {
        say("default", default);
    }
    if let Some(list) = field.list_type() {
        let text = match list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        say("x-kubernetes-list-type", json!(text));
    }
    let keys: Vec<&str> = field.list_map_keys().collect();
    if !keys.is_empty() {
        say("x-kubernetes-list-map-keys", json!(keys));
    }
    if field.is_map_atomic() {
        say("x-kubernetes-map-type", json!("atomic"));
    }
    let strategies = [
        (field.patch_merges(), "merge"),
        (field.patch_replaces(), "replace"),
        (field.patch_retains_keys(), "retainKeys"),
    ];
    let strategies: Vec<&str> = strategies.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    if !strategies.is_empty() {
        say("x-kubernetes-patch-strategy", strategies.join(",").into());
    }
    if let Some(key) = field.patch_merge_key() {
        say("x-kubernetes-patch-merge-key", json!(key));
    }
    beside
}

/// The name of a type that is no message and yet has one.
fn shared(kind: ValueKind) -> Option<String> {
    Some(match kind {
        ValueKind::Time => format!("{META}Time"),
        ValueKind::MicroTime => format!("{META}MicroTime"),
        ValueKind::FieldsV1 => format!("{META}FieldsV1"),
        ValueKind::Quantity => format!("{UTIL}api.resource.Quantity"),
        ValueKind::IntOrString => format!("{UTIL}util.intstr.IntOrString"),
        ValueKind::RawExtension => format!("{UTIL}runtime.RawExtension"),
        _ => return None,
    })
}

fn plain(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Bool => json!({"type": "boolean"}),
        ValueKind::Int32 => json!({"type": "integer", "format": "int32"}),
        ValueKind::Int64 => json!({"type": "integer", "format": "int64"}),
        ValueKind::Float64 => json!({"type": "number", "format": "double"}),
        ValueKind::String => json!({"type": "string"}),
        ValueKind::Bytes => json!({"type": "string", "format": "byte"}),
        ValueKind::Time | ValueKind::MicroTime => json!({"type": "string", "format": "date-time"}),
        ValueKind::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ValueKind::IntOrString => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        ValueKind::StringList => json!({"type": "array", "items": {"type": "string"}}),
        ValueKind::RawExtension | ValueKind::FieldsV1 | ValueKind::Message => json!({"type": "object"}),
        ValueKind::Json | ValueKind::SchemaOrBool | ValueKind::SchemaOrArray | ValueKind::SchemaOrStringArray => {
            json!({})
        }
    }
}
