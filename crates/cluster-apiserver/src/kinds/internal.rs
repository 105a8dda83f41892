//! Values as kube-apiserver's texts show them where it names a whole struct: it keeps types of its own, which have Go's names for fields and
//! say what is not set.

use serde_json::{Map, Value, json};

use crate::facts::{self, Field, Shape, Type, ValueKind};

/// Names that do not follow from those in JSON.
const NAMES: [(&str, &str); 3] = [
    ("gmsaCredentialSpec", "GMSACredentialSpec"),
    ("gmsaCredentialSpecName", "GMSACredentialSpecName"),
    ("seLinuxOptions", "SELinuxOptions"),
];

/// A value of the type that the OpenAPI documents call `name`, such as `io.k8s.api.apps.v1.DeploymentStrategy`.
pub(super) fn shown(name: &str, value: &Value) -> Value {
    facts::type_named(name).map_or_else(|| value.clone(), |of| message(of, value))
}

fn message(of: Type, value: &Value) -> Value {
    // Types that are the same inside have the names of JSON.
    if of.name().starts_with("io.k8s.apimachinery.") {
        return value.clone();
    }
    of.fields().map(|field| (go_name(field.name()), of_field(field, value.get(field.name())))).collect()
}

fn of_field(field: Field, value: Option<&Value>) -> Value {
    let one = |value: &Value| field.message().map_or_else(|| value.clone(), |of| message(of, value));
    match (field.shape(), value.filter(|value| !value.is_null())) {
        (Shape::One, Some(value)) => one(value),
        (Shape::List, Some(Value::Array(items))) => items.iter().map(one).collect(),
        (Shape::Map, Some(Value::Object(entries))) => {
            entries.iter().map(|(key, value)| (key.clone(), one(value))).collect::<Map<_, _>>().into()
        }
        (Shape::One, None) if !field.is_pointer() => match field.value_kind() {
            ValueKind::Message => one(&Value::Null),
            ValueKind::Bool => json!(false),
            ValueKind::Int32 | ValueKind::Int64 | ValueKind::Float64 | ValueKind::IntOrString => json!(0),
            ValueKind::String => json!(""),
            ValueKind::Quantity => json!("0"),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

fn go_name(name: &str) -> String {
    if let Some((_, known)) = NAMES.iter().find(|(own, _)| *own == name) {
        return (*known).to_owned();
    }
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_has_gos_names_and_all_its_fields() {
        let strategy = json!({"type": "Nonsense", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}});
        assert_eq!(
            shown("io.k8s.api.apps.v1.DeploymentStrategy", &strategy),
            json!({"Type": "Nonsense", "RollingUpdate": {"MaxSurge": "25%", "MaxUnavailable": 1}})
        );
        let context = json!({"privileged": true, "capabilities": {"add": ["ALL"]}, "seLinuxOptions": {"user": "u"}});
        let shown = shown("io.k8s.api.core.v1.SecurityContext", &context);
        assert_eq!(shown["Privileged"], true);
        assert_eq!(shown["Capabilities"], json!({"Add": ["ALL"], "Drop": null}));
        assert_eq!(shown["SELinuxOptions"], json!({"User": "u", "Role": "", "Type": "", "Level": ""}));
        assert_eq!(shown.as_object().expect("struct").len(), 12);
        assert_eq!(shown.get("ProcMount"), Some(&Value::Null));
    }
}
