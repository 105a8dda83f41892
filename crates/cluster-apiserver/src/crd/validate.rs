//! What is wrong with a CRD, in Kubernetes' words.

use serde_json::Value;

use crate::field_error::{FieldError, FieldPath};
use crate::kinds::webhook::client;
use crate::names;
use crate::schema::structural_errors;
use crate::status::top;
use crate::value::{at, bool_at, list_at, str_at, strings_at};

const IMMUTABLE: &str = "field is immutable";
/// Says who approved a kind in a group of the Kubernetes community.
const APPROVED: &str = "api-approved.kubernetes.io";

/// Checks a whole CRD.
pub(crate) fn definition(crd: &Value, errors: &mut Vec<FieldError>) {
    let (group, plural) = (str_at(crd, &["spec", "group"]), str_at(crd, &["spec", "names", "plural"]));
    let metadata = top("metadata");
    let name = str_at(crd, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&metadata.child("name"), name, why));
    }
    let spec = top("spec");
    check_group(group, &spec.child("group"), errors);
    check_scope(str_at(crd, &["spec", "scope"]), &spec.child("scope"), errors);
    check_versions(list_at(crd, &["spec", "versions"]), &spec.child("versions"), errors);
    check_conversion(&crd["spec"]["conversion"], &spec.child("conversion"), errors);
    check_names(&crd["spec"]["names"], &spec.child("names"), errors);
    if bool_at(crd, &["spec", "preserveUnknownFields"]) == Some(true) {
        let why = "must be false";
        errors.push(FieldError::invalid(&spec.child("preserveUnknownFields"), true, why));
    }
}

/// Checks that a kind in one of the Kubernetes community's groups says who approved it, unless it already stood there as it does now.
pub(crate) fn approval(crd: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let group = str_at(crd, &["spec", "group"]);
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.')));
    let approval = Approval::of(crd);
    if !is_protected || old.is_some_and(|old| Approval::of(old) == approval) {
        return;
    }
    let (metadata, see) = (top("metadata"), "see https://github.com/kubernetes/enhancements/pull/1111");
    let annotations = metadata.child("annotations");
    let field = annotations.key(APPROVED);
    match approval {
        Approval::Given => {}
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation \"{APPROVED}\", {see}");
            errors.push(FieldError::required(&field, &why));
        }
        Approval::Malformed => {
            let why = format!(
                "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting with \"unapproved\", {see}"
            );
            errors.push(FieldError::invalid(&field, str_at(crd, &["metadata", "annotations", APPROVED]), &why));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    /// By a URL, or openly not.
    Given,
    Missing,
    Malformed,
}

impl Approval {
    fn of(crd: &Value) -> Self {
        let text = str_at(crd, &["metadata", "annotations", APPROVED]);
        let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.is_empty() && !text.contains(' ')
        });
        match text {
            "" => Self::Missing,
            _ if is_url || text.starts_with("unapproved") => Self::Given,
            _ => Self::Malformed,
        }
    }
}

/// What this server takes and does not do, so that nobody counts on it.
pub(crate) fn warnings(crd: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for version in list_at(crd, &["spec", "versions"]) {
        if has_rules(&version["schema"]["openAPIV3Schema"]) {
            let name = str_at(version, &["name"]);
            warnings
                .push(format!("version {name}: x-kubernetes-validations are stored and not evaluated by this server"));
        }
    }
    warnings
}

/// Whether a schema, which is no deeper than a stored object, has rules in CEL anywhere.
fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| (name == "x-kubernetes-validations" && value.is_array()) || has_rules(value)),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

/// Checks what a change may not touch.
pub(crate) fn change(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !super::has_condition(old, "Established") {
        return;
    }
    let spec = top("spec");
    let names = spec.child("names");
    let fixed: [(&[&str], FieldPath<'_>); 4] = [
        (&["spec", "scope"], spec.child("scope")),
        (&["spec", "names", "kind"], names.child("kind")),
        (&["spec", "group"], spec.child("group")),
        (&["spec", "names", "plural"], names.child("plural")),
    ];
    for (path, field) in fixed {
        let value = str_at(new, path);
        if value != str_at(old, path) {
            errors.push(FieldError::invalid(&field, value, IMMUTABLE));
        }
    }
}

fn check_group(group: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if group.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if let Some(wrong) = names::dns1123_subdomain(group).first() {
        errors.push(FieldError::invalid(path, group, wrong));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(path, group, "should be a domain with at least one dot"));
    }
}

fn check_scope(scope: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    match scope {
        "Cluster" | "Namespaced" => {}
        "" => errors.push(FieldError::required(path, "")),
        other => errors.push(FieldError::not_supported(path, other, &["Cluster", "Namespaced"])),
    }
}

fn check_versions(versions: &[Value], path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = str_at(version, &["name"]);
        if let Some(wrong) = names::dns1035_label(name).first() {
            errors.push(FieldError::invalid(&path.child("name"), name, wrong));
        }
        if seen.contains(&name) {
            errors.push(FieldError::invalid(&path.child("name"), name, "must be unique"));
        }
        seen.push(name);
        check_schema(version, &path, errors);
        check_subresources(version, &path, errors);
        check_columns(version, &path, errors);
    }
    let storage = versions.iter().filter(|version| bool_at(version, &["storage"]) == Some(true)).count();
    if storage != 1 {
        let names: Value = versions.iter().map(|version| Value::from(str_at(version, &["name"]))).collect();
        errors.push(FieldError::invalid(path, &names, "must have exactly one version marked as storage version"));
    }
}

fn check_schema(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child("schema");
    let path = path.child("openAPIV3Schema");
    match at(version, &["schema", "openAPIV3Schema"]) {
        None => errors.push(FieldError::required(&path, "")),
        Some(schema) => structural_errors(schema, &path, errors),
    }
}

fn check_subresources(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let Some(scale) = at(version, &["subresources", "scale"]) else { return };
    let path = path.child("subresources");
    let path = path.child("scale");
    let required = [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")];
    for (name, prefix) in required {
        let value = str_at(scale, &[name]);
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        } else if !value.starts_with(prefix) {
            let why = format!("should be a json path under {}", prefix.trim_end_matches('.'));
            errors.push(FieldError::invalid(&path.child(name), value, &why));
        }
    }
}

fn check_columns(version: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    let path = path.child("additionalPrinterColumns");
    for (index, column) in list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let path = path.index(index);
        for name in ["name", "jsonPath"] {
            if str_at(column, &[name]).is_empty() {
                errors.push(FieldError::required(&path.child(name), ""));
            }
        }
        match str_at(column, &["type"]) {
            "" => {
                errors.push(FieldError::required(&path.child("type"), &format!("must be one of {}", TYPES.join(","))))
            }
            kind if TYPES.contains(&kind) => {}
            kind => {
                let why = format!("must be one of {}", TYPES.join(","));
                errors.push(FieldError::invalid(&path.child("type"), kind, &why));
            }
        }
    }
}

fn check_conversion(conversion: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    match str_at(conversion, &["strategy"]) {
        "None" | "Webhook" => {}
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        other => errors.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
    // The fields are named as they were before v1, as in Kubernetes.
    let (client, versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let webhook = &conversion["webhook"];
    let given = at(webhook, &["clientConfig"]);
    if str_at(conversion, &["strategy"]) == "Webhook" {
        match given {
            None => errors.push(FieldError::required(&client, "required when strategy is set to Webhook")),
            Some(given) => client::validate(given, &client, errors),
        }
        check_review_versions(&webhook["conversionReviewVersions"], &versions, errors);
    } else {
        let why = "should not be set when strategy is not set to Webhook";
        if given.is_some() {
            errors.push(FieldError::forbidden(&client, why));
        }
        if !list_at(webhook, &["conversionReviewVersions"]).is_empty() {
            errors.push(FieldError::forbidden(&versions, why));
        }
    }
}

fn check_review_versions(list: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let given = strings_at(list, &[]);
    if given.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    for (index, version) in given.iter().enumerate() {
        if given.iter().take(index).any(|before| before == version) {
            errors.push(FieldError::invalid(&path.index(index), *version, "duplicate version"));
            continue;
        }
        for wrong in names::dns1035_label(version) {
            errors.push(FieldError::invalid(&path.index(index), *version, &wrong));
        }
    }
    if !given.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        errors.push(FieldError::invalid(path, list, "must include at least one of v1, v1beta1"));
    }
}

fn check_names(given: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let lower = ["plural", "singular"];
    for name in ["plural", "singular", "kind", "listKind"] {
        let value = str_at(given, &[name]);
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
            continue;
        }
        let form = if lower.contains(&name) { value.to_owned() } else { value.to_lowercase() };
        if let Some(wrong) = names::dns1035_label(&form).first() {
            errors.push(FieldError::invalid(&path.child(name), value, wrong));
        }
    }
    let shorts = path.child("shortNames");
    for (index, short) in strings_at(given, &["shortNames"]).into_iter().enumerate() {
        if let Some(wrong) = names::dns1035_label(short).first() {
            errors.push(FieldError::invalid(&shorts.index(index), short, wrong));
        }
    }
    let (kind, list_kind) = (str_at(given, &["kind"]), str_at(given, &["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_recorded_refusal() {
        let crd = json!({"metadata": {"name": "wrong.g.io"}, "spec": {
            "group": "g.io", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "bars", "kind": "Bar", "singular": "bar", "listKind": "BarList"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        }});
        let mut errors = Vec::new();
        definition(&crd, &mut errors);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "metadata.name: Invalid value: \"wrong.g.io\": must be spec.names.plural+\".\"+spec.group",
                "spec.versions[0].schema.openAPIV3Schema: Required value",
            ]
        );
    }

    #[test]
    fn the_community_s_groups_need_an_approval() {
        let crd = |group: &str, approval: &str| json!({"metadata": {"annotations": {APPROVED: approval}}, "spec": {"group": group}});
        let found = |new: &Value, old: Option<&Value>| {
            let mut errors = Vec::new();
            approval(new, old, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            found(&crd("apps.k8s.io", ""), None),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \
             \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        assert!(found(&crd("k8s.io", "yes"), None).contains("with either a URL or a reason"));
        let fine =
            [("k8s.io", "https://a.b/c"), ("x.kubernetes.io", "unapproved, a test"), ("myk8s.io", ""), ("g.io", "")];
        for (group, approval) in fine {
            assert_eq!(found(&crd(group, approval), None), "", "{group} {approval}");
        }
        assert_eq!(found(&crd("k8s.io", ""), Some(&crd("k8s.io", ""))), "", "it stood there before");
        assert_ne!(found(&crd("k8s.io", ""), Some(&crd("k8s.io", "https://a.b/c"))), "");
    }

    #[test]
    fn what_is_not_done_is_said() {
        let rules = json!([{"rule": "self.a > 1"}]);
        let schema = json!({"properties": {"spec": {"properties": {"a": {"x-kubernetes-validations": rules}}}}});
        let crd = json!({"spec": {"versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": schema}}, {"name": "v2", "schema": {"openAPIV3Schema": {}}},
        ]}});
        assert_eq!(
            warnings(&crd),
            ["version v1: x-kubernetes-validations are stored and not evaluated by this server"]
        );
        assert!(warnings(&json!({"spec": {"versions": []}})).is_empty());
    }

    #[test]
    fn nothing_that_instances_depend_on_may_change() {
        let old = json!({"spec": {"group": "g.io", "scope": "Namespaced", "names": {"plural": "a", "kind": "A"}},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}});
        let mut new = old.clone();
        new["spec"]["scope"] = json!("Cluster");
        let mut errors = Vec::new();
        change(&new, &old, &mut errors);
        assert_eq!(errors[0].to_string(), "spec.scope: Invalid value: \"Cluster\": field is immutable");
    }
}
