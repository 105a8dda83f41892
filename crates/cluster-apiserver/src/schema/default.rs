//! Defaulting: absent fields, and nulls where null is not allowed, get the schema's default; other such nulls are dropped.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in the defaults of a whole object. It is also done on reading, because the schema may have got defaults since the write.
    pub fn set_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    let is_missing = match fields.get(name.as_ref()) {
                        None => true,
                        Some(present) => present.is_null() && !schema.is_nullable,
                    };
                    if is_missing {
                        fields.insert(name.to_string(), default.as_ref().clone());
                    }
                }
                for (name, value) in fields {
                    match (self.properties.get(name.as_str()), self.additional()) {
                        (Some(schema), _) => schema.set_defaults(value),
                        (None, Some(schema)) => schema.default_item(value),
                        (None, None) => {}
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.default_item(item));
                }
            }
            _ => {}
        }
    }

    fn default_item(&self, value: &mut Value) {
        if value.is_null()
            && !self.is_nullable
            && let Some(default) = &self.default
        {
            *value = default.as_ref().clone();
        }
        self.set_defaults(value);
    }

    /// Drops nulls where null is not allowed; call it after the defaults are set.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| {
                    let schema = self.properties.get(name.as_str()).or(self.additional());
                    if let Some(schema) = schema {
                        schema.drop_nulls(value);
                    }
                    !value.is_null() || schema.is_none_or(|schema| schema.is_nullable || schema.is_untyped())
                });
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.drop_nulls(item));
                }
            }
            _ => {}
        }
    }

    /// Whether any value is as good as another, null included.
    fn is_untyped(&self) -> bool {
        self.kind.is_none() && !self.is_int_or_string && self.preserves_unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_fill_what_is_absent_or_wrongly_null() {
        let schema = Schema::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "n": {"type": "integer", "default": 1}, "d": {"type": "string", "default": "dd"}, "e": {"type": "string"},
                "nul": {"type": "string", "nullable": true, "default": "x"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "string", "default": "v"}},
            }}}}),
        );
        let mut object =
            json!({"spec": {"d": null, "e": null, "nul": null, "list": [{}, {"p": "UDP"}], "map": {"k": null}}});
        schema.set_defaults(&mut object);
        schema.drop_nulls(&mut object);
        assert_eq!(
            object,
            json!({"spec": {
                "n": 1, "d": "dd", "nul": null, "list": [{"p": "TCP"}, {"p": "UDP"}], "map": {"k": "v"},
            }})
        );
        let mut object = json!({});
        schema.set_defaults(&mut object);
        assert_eq!(object, json!({"spec": {"n": 1, "d": "dd", "nul": "x"}}));
    }
}
