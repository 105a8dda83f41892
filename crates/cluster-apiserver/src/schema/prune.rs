//! Pruning: fields that a schema does not know are dropped, and named, because strict clients want to hear of them.

use serde_json::{Map, Value};

use super::{Additional, Schema};

/// At most so many unknown fields are named; more are dropped in silence.
const MAX_NAMED: usize = 100;

/// What the root of an object may always have.
const ROOT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Drops what the schema does not know from a whole object. The paths of what was dropped go to `dropped`, in order.
    pub fn prune(&self, object: &mut Value, dropped: &mut Vec<String>) {
        if let Value::Object(fields) = object {
            self.prune_fields(fields, true, &mut String::new(), dropped);
        }
    }

    /// The same for a part of an object, which may be a resource itself.
    pub(super) fn prune_part(&self, value: &mut Value, is_resource: bool, dropped: &mut Vec<String>) {
        match value {
            Value::Object(fields) => self.prune_fields(fields, is_resource, &mut String::new(), dropped),
            other => self.prune_value(other, &mut String::new(), dropped),
        }
    }

    fn prune_value(&self, value: &mut Value, path: &mut String, dropped: &mut Vec<String>) {
        match value {
            Value::Object(fields) => self.prune_fields(fields, self.is_embedded_resource, path, dropped),
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                let length = path.len();
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    schema.prune_value(item, path, dropped);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn prune_fields(
        &self,
        fields: &mut Map<String, Value>,
        is_resource: bool,
        path: &mut String,
        dropped: &mut Vec<String>,
    ) {
        let length = path.len();
        fields.retain(|name, value| {
            if is_resource && ROOT_FIELDS.contains(&name.as_str()) {
                return true;
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            let is_known = match self.properties.get(name.as_str()).or(self.additional()) {
                Some(schema) => {
                    schema.prune_value(value, path, dropped);
                    true
                }
                None => self.preserves_unknown || matches!(self.additional, Additional::Any),
            };
            if !is_known && dropped.len() < MAX_NAMED {
                dropped.push(path.clone());
            }
            path.truncate(length);
            is_known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unknown_goes_and_is_named() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object", "properties": {"a": {}}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"v": {}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        }}}}));
        let mut object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "odd": 1}, "extra": 1, "spec": {
            "unknown": 1, "any": {"z": {"y": 1}, "known": {"a": 1, "b": 2}},
            "list": [{"name": "a", "x": 1}, {"y": 2}], "map": {"k": {"v": 1, "w": 2}},
            "template": {"kind": "P", "metadata": {"m": 1}, "other": 1, "spec": {"s": 1}},
        }});
        let mut dropped = Vec::new();
        schema.prune(&mut object, &mut dropped);
        assert_eq!(
            object,
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "odd": 1}, "spec": {
                "any": {"z": {"y": 1}, "known": {"a": 1}}, "list": [{"name": "a"}, {}], "map": {"k": {"v": 1}},
                "template": {"kind": "P", "metadata": {"m": 1}, "spec": {}},
            }})
        );
        dropped.sort();
        assert_eq!(
            dropped,
            [
                "extra",
                "spec.any.known.b",
                "spec.list[0].x",
                "spec.list[1].y",
                "spec.map.k.w",
                "spec.template.other",
                "spec.template.spec.s",
                "spec.unknown",
            ]
        );
    }
}
