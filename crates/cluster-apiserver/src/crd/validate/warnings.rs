//! What is said about a CRD that is taken all the same.

use serde_json::Value;

use crate::value::{list_at, str_at};

/// Formats of texts that are checked, without their dashes.
const TEXT_FORMATS: [&str; 25] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
];

/// What is new to say since the CRD was as `old`.
pub(crate) fn warnings(crd: &Value, old: Option<&Value>) -> Vec<String> {
    let known = old.map(all).unwrap_or_default();
    all(crd).into_iter().filter(|warning| !known.contains(warning)).collect()
}

fn all(crd: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in list_at(crd, &["spec", "versions"]) {
        walk(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found.dedup();
    found
}

fn walk(schema: &Value, found: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else { return };
    let (format, kind) = (str_at(schema, &["format"]), str_at(schema, &["type"]));
    let is_known = match kind {
        "" | "string" => TEXT_FORMATS.contains(&format.replace('-', "").as_str()) || format == "k8s-long-name",
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => true,
    };
    if !format.is_empty() && !is_known {
        found.push(format!("unrecognized format {}", crate::field_error::quote(format)));
    }
    let item = str_at(schema, &["items", "type"]);
    if str_at(schema, &["x-kubernetes-list-type"]) == "set" && matches!(item, "array" | "object") {
        found.push(format!(
            "x-kubernetes-list-type: set for items of type \"{item}\" is not supported by server-side apply or CEL validation rules"
        ));
    }
    for (name, value) in fields {
        match name.as_str() {
            "properties" => value.as_object().into_iter().flatten().for_each(|(_, schema)| walk(schema, found)),
            "items" | "additionalProperties" | "not" => walk(value, found),
            "allOf" | "anyOf" | "oneOf" => {
                value.as_array().into_iter().flatten().for_each(|schema| walk(schema, found))
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_and_not_done() {
        let crd = |format: &str| {
            let schema = json!({"type": "object", "properties": {"a": {"type": "string", "format": format}}});
            json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}})
        };
        assert_eq!(warnings(&crd("odd"), None), ["unrecognized format \"odd\""]);
        assert!(warnings(&crd("odd"), Some(&crd("odd"))).is_empty(), "it was said before");
        assert!(warnings(&crd("date-time"), None).is_empty());
    }
}
