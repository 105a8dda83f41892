//! What is wrong with one version of a CRD: its schema, subresources, columns, selectable fields and warning.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field_error::{FieldError, FieldPath};
use crate::schema::{Schema, Type, field_path, structural_errors};
use crate::value::{at, bool_at, list_at, str_at};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// A version may have so many selectable fields.
const MAX_SELECTABLE: usize = 8;
/// A deprecation's warning may have so many bytes.
const MAX_WARNING: usize = 256;

/// What a schema may say at its root if the status is a subresource: as Go names it, and as it is written.
const AT_ROOT: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

/// What all versions have alike. Kubernetes has it once, in the spec, where it is checked and what is wrong with it is named.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    pub(super) fn of(versions: &[Value]) -> Self {
        let is_alike = |name: &str| versions.windows(2).all(|pair| matches!(pair, [a, b] if a[name] == b[name]));
        Self {
            schema: is_alike("schema"),
            subresources: is_alike("subresources"),
            columns: is_alike("additionalPrinterColumns"),
            selectable: is_alike("selectableFields"),
        }
    }
}

/// Checks what a version has of its own; `before` is what it was, if there was one of that name.
pub(super) fn check(
    version: &Value,
    before: Option<&Value>,
    shared: Shared,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    check_warning(version, path, errors);
    if !shared.schema {
        check_schema(version, before, has_status(version), &path.child("schema"), errors);
    }
    if !shared.subresources {
        check_scale(version, path, errors);
    }
    if !shared.columns {
        check_columns(version, path, errors);
    }
    if !shared.selectable {
        check_selectable(version, before, path, errors);
    }
}

/// Checks what all versions share, in the first of them, and names it in the spec at `path`.
pub(super) fn check_shared(
    versions: &[Value],
    before: Option<&Value>,
    shared: Shared,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(first) = versions.first() else { return };
    if shared.schema {
        check_schema(first, before, versions.iter().any(has_status), &path.child("validation"), errors);
    }
    if shared.subresources {
        check_scale(first, path, errors);
    }
    if shared.columns {
        check_columns(first, path, errors);
    }
    if shared.selectable {
        check_selectable(first, before, path, errors);
    }
}

/// Every version has a schema.
pub(super) fn require_schemas(versions: &[Value], path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| schema_of(version).is_none()) {
        errors.push(FieldError::required(&path.index(index).child("schema").child("openAPIV3Schema"), ""));
    }
}

fn has_status(version: &Value) -> bool {
    at(version, &["subresources", "status"]).is_some()
}

fn check_warning(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let Some(warning) = at(version, &["deprecationWarning"]).and_then(Value::as_str) else { return };
    let path = path.child("deprecationWarning");
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&path, warning, why));
    if bool_at(version, &["deprecated"]) != Some(true) {
        wrong("can only be set for deprecated versions");
        return;
    }
    if warning.len() > MAX_WARNING {
        wrong("must be <= 256 characters long");
    }
    if warning.is_empty() {
        wrong("must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        wrong(&why);
    }
}

fn schema_of(version: &Value) -> Option<&Value> {
    at(version, &["schema", "openAPIV3Schema"])
}

fn check_schema(
    version: &Value,
    before: Option<&Value>,
    has_status: bool,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let path = path.child("openAPIV3Schema");
    let Some(schema) = schema_of(version) else { return };
    if before.and_then(schema_of) == Some(schema) {
        return;
    }
    if has_status {
        check_root(schema, &path, errors);
    }
    structural_errors(schema, &path, errors);
}

fn check_root(schema: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let is_allowed = |name: &str| AT_ROOT.iter().any(|(_, known)| *known == name);
    let fields = schema.as_object().into_iter().flatten();
    if fields.filter(|(_, value)| is_set(value)).any(|(name, _)| !is_allowed(name)) {
        let names: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.push(FieldError::invalid(path, schema, &why));
    }
}

fn check_scale(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let Some(scale) = at(version, &["subresources", "scale"]) else { return };
    let path = path.child("subresources");
    let path = path.child("scale");
    let rows: [(&str, bool, &[&str], &str); 3] = [
        ("specReplicasPath", true, &[".spec."], "should be a json path under .spec"),
        ("statusReplicasPath", true, &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", false, &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ];
    for (name, is_required, prefixes, why) in rows {
        let (value, path) = (str_at(scale, &[name]), path.child(name));
        if value.is_empty() {
            if is_required {
                errors.push(FieldError::required(&path, ""));
            }
        } else if is_simple_path(value, &path, errors) && !prefixes.iter().any(|prefix| value.starts_with(prefix)) {
            errors.push(FieldError::invalid(&path, value, why));
        }
    }
}

fn is_simple_path(value: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) -> bool {
    let is_simple = value.starts_with('.');
    if !is_simple {
        errors.push(FieldError::invalid(path, value, "must be a simple json path starting with ."));
    }
    is_simple
}

fn check_columns(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child("additionalPrinterColumns");
    for (index, column) in list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let path = path.index(index);
        if str_at(column, &["name"]).is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let one_of = |known: &[&str]| format!("must be one of {}", known.join(","));
        match str_at(column, &["type"]) {
            "" => errors.push(FieldError::required(&path.child("type"), &one_of(&COLUMN_TYPES))),
            kind if COLUMN_TYPES.contains(&kind) => {}
            kind => errors.push(FieldError::invalid(&path.child("type"), kind, &one_of(&COLUMN_TYPES))),
        }
        let format = str_at(column, &["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            errors.push(FieldError::invalid(&path.child("format"), format, &one_of(&COLUMN_FORMATS)));
        }
        match str_at(column, &["jsonPath"]) {
            "" => errors.push(FieldError::required(&path.child("JSONPath"), "")),
            value => {
                is_simple_path(value, &path.child("JSONPath"), errors);
            }
        }
    }
}

fn check_selectable(version: &Value, before: Option<&Value>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let fields = list_at(version, &["selectableFields"]);
    let (Some(raw), false) = (schema_of(version), fields.is_empty()) else { return };
    let (schema, path) = (Schema::parse(raw), path.child("selectableFields"));
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let item = path.index(index);
        let (item, value) = (item.child("jsonPath"), str_at(field, &["jsonPath"]));
        if value.is_empty() {
            errors.push(FieldError::required(&item, ""));
            continue;
        }
        let found = if value.contains('[') {
            Err("array notation is not allowed".to_owned())
        } else {
            field_path(&schema, value)
        };
        let (place, found) = match found {
            Ok(found) => found,
            Err(error) => {
                errors.push(FieldError::invalid(&item, value, &format!("is an invalid path: {error}")));
                continue;
            }
        };
        if place.split('.').next() == Some("metadata") {
            errors.push(FieldError::invalid(&item, value, "must not point to fields in metadata"));
        }
        if !matches!(found.kind(), Some(Type::String | Type::Boolean | Type::Integer)) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&item, value, why));
        }
        if !seen.insert(place) {
            errors.push(FieldError::duplicate(&item, value));
        }
    }
    let is_as_before = before.is_some_and(|before| list_at(before, &["selectableFields"]) == fields);
    if seen.len() > MAX_SELECTABLE && !is_as_before {
        errors.push(FieldError::too_many(&path, seen.len(), MAX_SELECTABLE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(more: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"}, "o": {"type": "object"},
        }}}});
        let mut version = json!({"name": "v1", "schema": {"openAPIV3Schema": schema}});
        let fields = version.as_object_mut().expect("object");
        fields.extend(more.as_object().expect("object").clone());
        let mut errors = Vec::new();
        let own = Shared { schema: false, subresources: false, columns: false, selectable: false };
        check(&version, None, own, &FieldPath::Root.child("v"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_version_may_not_say() {
        let one = |more: Value| errors(more).join("; ");
        assert_eq!(one(json!({})), "");
        assert_eq!(
            one(json!({"deprecationWarning": "old"})),
            "v.deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions"
        );
        assert_eq!(
            one(
                json!({"subresources": {"scale": {"specReplicasPath": "spec.a", "statusReplicasPath": ".spec.a", "labelSelectorPath": ".x"}}})
            ),
            "v.subresources.scale.specReplicasPath: Invalid value: \"spec.a\": must be a simple json path starting with .; \
             v.subresources.scale.statusReplicasPath: Invalid value: \".spec.a\": should be a json path under .status; \
             v.subresources.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status"
        );
        assert_eq!(
            one(json!({"additionalPrinterColumns": [{"type": "text", "format": "odd"}]})),
            "v.additionalPrinterColumns[0].name: Required value; \
             v.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string; \
             v.additionalPrinterColumns[0].format: Invalid value: \"odd\": must be one of byte,date,date-time,double,float,int32,int64,password; \
             v.additionalPrinterColumns[0].JSONPath: Required value"
        );
        assert_eq!(
            one(
                json!({"selectableFields": [{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.a"}, {"jsonPath": ".spec.o"}, {"jsonPath": ".spec.z"}, {"jsonPath": ".spec['a']"}]})
            ),
            "v.selectableFields[1].jsonPath: Duplicate value: \".spec.a\"; \
             v.selectableFields[2].jsonPath: Invalid value: \".spec.o\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.; \
             v.selectableFields[3].jsonPath: Invalid value: \".spec.z\": is an invalid path: does not refer to a valid field; \
             v.selectableFields[4].jsonPath: Invalid value: \".spec['a']\": is an invalid path: array notation is not allowed"
        );
        let status = json!({"subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "oneOf": [{"required": ["a"]}]}}});
        assert!(one(status).contains("only [Description Type Format Title"));
    }
}
