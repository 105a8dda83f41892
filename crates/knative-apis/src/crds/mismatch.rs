//! Where an object does not have the shape of its kind, in the words of Go's JSON decoder.
//!
//! ```text
//! json: cannot unmarshal string into Go struct field Container.spec.template.spec.containers.env of type []v1.EnvVar
//! ```

use super::kinds::kinds;
use serde_json::{Number, Value};

/// Go's names of the structs under a field.
const STRUCTS: [(&str, &str); 26] = [
    ("template", "RevisionTemplateSpec"),
    ("metadata", "ObjectMeta"),
    ("containers", "Container"),
    ("env", "EnvVar"),
    ("envFrom", "EnvFromSource"),
    ("valueFrom", "EnvVarSource"),
    ("configMapKeyRef", "ConfigMapKeySelector"),
    ("secretKeyRef", "SecretKeySelector"),
    ("ports", "ContainerPort"),
    ("resources", "ResourceRequirements"),
    ("securityContext", "SecurityContext"),
    ("capabilities", "Capabilities"),
    ("livenessProbe", "Probe"),
    ("readinessProbe", "Probe"),
    ("startupProbe", "Probe"),
    ("httpGet", "HTTPGetAction"),
    ("tcpSocket", "TCPSocketAction"),
    ("exec", "ExecAction"),
    ("grpc", "GRPCAction"),
    ("volumeMounts", "VolumeMount"),
    ("volumes", "Volume"),
    ("imagePullSecrets", "LocalObjectReference"),
    ("traffic", "TrafficTarget"),
    ("rules", "IngressRule"),
    ("paths", "HTTPIngressPath"),
    ("splits", "IngressBackendSplit"),
];

/// The first value that cannot be, if the object's kind is known and one is found.
pub(crate) fn first_mismatch(object: &Value) -> Option<String> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/')?;
    let kind = kinds().into_iter().find(|k| k.group == group && k.version == version && k.kind == text("kind"))?;
    let walk = |part: &str, schema: &Value| {
        let value = object.get(part)?;
        let mut walker = Walker { kind: &kind.kind, path: vec![part.to_owned()] };
        walker.walk(value, schema)
    };
    walk("spec", &kind.spec).or_else(|| walk("status", kind.status.as_ref()?))
}

struct Walker<'a> {
    kind: &'a str,
    path: Vec<String>,
}

impl Walker<'_> {
    fn walk(&mut self, value: &Value, schema: &Value) -> Option<String> {
        let wanted = schema.get("type").and_then(Value::as_str);
        match (value, wanted) {
            (Value::Null, _) | (_, None) => None,
            (Value::Object(fields), Some("object")) => fields.iter().find_map(|(name, value)| {
                let Some(schema) = schema.pointer("/properties").and_then(|p| p.get(name)) else {
                    // The values of a map are told at the map's own path.
                    return self.walk(value, schema.get("additionalProperties")?);
                };
                self.path.push(name.clone());
                let found = self.walk(value, schema);
                self.path.pop();
                found
            }),
            (Value::Array(items), Some("array")) => {
                let schema = schema.get("items")?;
                items.iter().find_map(|item| self.walk(item, schema))
            }
            (Value::String(_), Some("string")) | (Value::Bool(_), Some("boolean")) => None,
            (Value::Number(number), Some("integer")) if fits(number, schema) => None,
            (value, Some(wanted)) => Some(self.message(value, wanted, schema)),
        }
    }

    fn message(&self, value: &Value, wanted: &str, schema: &Value) -> String {
        let found = match value {
            Value::Number(number) if wanted == "integer" => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Array(_) => "array".to_owned(),
            _ => "object".to_owned(),
        };
        let own = self.path.last().map(String::as_str).unwrap_or_default();
        let struct_of = |field: &str| STRUCTS.iter().find(|(name, _)| *name == field).map(|(_, go)| *go);
        let go_type = match wanted {
            "integer" => schema.get("format").and_then(Value::as_str).unwrap_or("int").to_owned(),
            "boolean" => "bool".to_owned(),
            "array" => format!("[]v1.{}", struct_of(own).unwrap_or("string")),
            "object" => format!("v1.{}", struct_of(own).unwrap_or(self.kind)),
            _ => "string".to_owned(),
        };
        let parent = self.path.len().checked_sub(2).and_then(|at| self.path.get(at)).map(String::as_str);
        let holder = match (parent, self.path.as_slice()) {
            (None, _) => self.kind.to_owned(),
            (Some("spec"), [first, _]) if first == "spec" => format!("{}Spec", self.kind),
            (Some("spec"), _) => "RevisionSpec".to_owned(),
            (Some("status"), _) => format!("{}Status", self.kind),
            (Some(parent), _) => struct_of(parent).unwrap_or(parent).to_owned(),
        };
        let path = self.path.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {go_type}")
    }
}

/// Whether a number is a whole one of the size that the schema gives.
fn fits(number: &Number, schema: &Value) -> bool {
    let is_small = schema.get("format").and_then(Value::as_str) == Some("int32");
    number.as_i64().is_some_and(|number| !is_small || i32::try_from(number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(template_spec: &Value) -> Value {
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "spec": {"template": {"spec": template_spec}},
        })
    }

    #[test]
    fn the_first_wrong_value_is_told_as_go_tells_it() {
        for (spec, want) in [
            (
                json!({"containers": [{"image": "a", "env": [{"name": "A", "value": 1}]}]}),
                Some("number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"),
            ),
            (
                json!({"containerConcurrency": "10"}),
                Some("string into Go struct field RevisionSpec.spec.template.spec.containerConcurrency of type int64"),
            ),
            (
                json!({"timeoutSeconds": 1.5}),
                Some("number 1.5 into Go struct field RevisionSpec.spec.template.spec.timeoutSeconds of type int64"),
            ),
            (
                json!({"containers": [{"image": "a", "ports": [{"containerPort": 2_147_483_648_u32}]}]}),
                Some(
                    "number 2147483648 into Go struct field \
                     ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
                ),
            ),
            (
                json!({"containers": {"image": "a"}}),
                Some("object into Go struct field RevisionSpec.spec.template.spec.containers of type []v1.Container"),
            ),
            (
                json!({"containers": [{"image": "a", "resources": {"limits": {"cpu": 1}}}], "timeoutSeconds": null}),
                None,
            ),
        ] {
            let want = want.map(|text| format!("json: cannot unmarshal {text}"));
            assert_eq!(first_mismatch(&service(&spec)), want, "{spec}");
        }
    }
}
