//! Turns a derived JSON Schema into the structural form that Kubernetes takes.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// A default that the API server is to fill in. Those that the derive writes (a struct's own
/// defaults) are not: they would be stored in every object.
pub(super) const KEPT_DEFAULT: &str = "x-kept-default";

/// The structural schema of a type.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Value::Object(root) = &mut schema {
        root.remove("title");
    }
    make_structural(&mut schema);
    schema
}

fn make_structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.remove("default");
    if let Some(default) = fields.remove(KEPT_DEFAULT) {
        fields.insert("default".to_owned(), default);
    }
    // "or null" goes without saying.
    if let Some(Value::Array(types)) = fields.get("type") {
        let one = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
        fields.insert("type".to_owned(), one);
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(nested) {
            make_structural(schema);
        }
    }
}
