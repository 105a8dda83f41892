//! What is wrong with a CRD, in Kubernetes' words.

mod approval;
mod version;
mod warnings;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field_error::{FieldError, FieldPath};
use crate::kinds::webhook::client;
use crate::names;
use crate::status::top;
use crate::value::{at, bool_at, list_at, str_at, strings_at};

pub(crate) use approval::approval;
pub(super) use approval::condition as approval_condition;
pub(crate) use warnings::warnings;

const IMMUTABLE: &str = "field is immutable";

/// Checks a whole CRD. What an update leaves as it was is not refused for a check that came later.
pub(crate) fn definition(crd: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
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
    let versions = list_at(crd, &["spec", "versions"]);
    let shared = version::Shared::of(versions);
    check_versions(versions, old, shared, &spec.child("versions"), errors);
    check_names(&crd["spec"]["names"], &spec.child("names"), errors);
    let before = versions.first().and_then(|first| version_before(old, first));
    version::check_shared(versions, before, shared, &spec, errors);
    check_conversion(&crd["spec"]["conversion"], &spec.child("conversion"), errors);
    check_stored(crd, &top("status"), errors);
    if bool_at(crd, &["spec", "preserveUnknownFields"]) == Some(true) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&spec.child("preserveUnknownFields"), true, why));
    }
}

/// Checks what a change may not touch.
pub(crate) fn change(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let is_established = super::has_condition(old, "Established");
    let spec = top("spec");
    let names = spec.child("names");
    let fixed: [(&[&str], FieldPath<'_>, bool); 4] = [
        (&["spec", "scope"], spec.child("scope"), is_established),
        (&["spec", "names", "kind"], names.child("kind"), is_established),
        (&["spec", "group"], spec.child("group"), true),
        (&["spec", "names", "plural"], names.child("plural"), true),
    ];
    for (path, field, _) in fixed.into_iter().filter(|(_, _, is_fixed)| *is_fixed) {
        let value = str_at(new, path);
        if value != str_at(old, path) {
            errors.push(FieldError::invalid(&field, value, IMMUTABLE));
        }
    }
}

fn check_group(group: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if group.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !names::dns1123_subdomain(group).is_empty() {
        errors.push(FieldError::invalid(path, group, &names::dns1123_subdomain(group).join(",")));
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

fn check_versions(
    versions: &[Value],
    old: Option<&Value>,
    shared: version::Shared,
    path: &FieldPath<'_>,
    errors: &mut Vec<FieldError>,
) {
    let name_of = |version: &Value| str_at(version, &["name"]).to_owned();
    version::require_schemas(versions, path, errors);
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = name_of(version);
        let wrong = names::dns1035_label(&name);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), &name, &wrong.join(",")));
        }
        version::check(version, version_before(old, version), shared, &path, errors);
    }
    let names: Vec<String> = versions.iter().map(name_of).collect();
    let shown = if names.is_empty() { Value::Null } else { Value::from(names.clone()) };
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        errors.push(FieldError::invalid(path, &shown, "must contain unique version names"));
    }
    if versions.iter().filter(|version| bool_at(version, &["storage"]) == Some(true)).count() != 1 {
        errors.push(FieldError::invalid(path, &shown, "must have exactly one version marked as storage version"));
    }
}

/// What a version was before.
fn version_before<'a>(old: Option<&'a Value>, version: &Value) -> Option<&'a Value> {
    let known = list_at(old?, &["spec", "versions"]);
    known.iter().find(|before| str_at(before, &["name"]) == str_at(version, &["name"]))
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
    const NAMES: [&str; 4] = ["plural", "singular", "kind", "listKind"];
    for name in NAMES.into_iter().filter(|name| str_at(given, &[name]).is_empty()) {
        errors.push(FieldError::required(&path.child(name), ""));
    }
    for name in NAMES {
        let value = str_at(given, &[name]);
        let is_kind = matches!(name, "kind" | "listKind");
        let wrong = names::dns1035_label(&if is_kind { value.to_lowercase() } else { value.to_owned() }).join(",");
        let hint = if is_kind { "may have mixed case, but should otherwise match: " } else { "" };
        if !value.is_empty() && !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.child(name), value, &format!("{hint}{wrong}")));
        }
    }
    check_labels(given, "shortNames", path, errors);
    let (kind, list_kind) = (str_at(given, &["kind"]), str_at(given, &["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same"));
    }
    check_labels(given, "categories", path, errors);
}

fn check_labels(given: &Value, name: &str, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child(name);
    for (index, label) in strings_at(given, &[name]).into_iter().enumerate() {
        let wrong = names::dns1035_label(label);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&path.index(index), label, &wrong.join(",")));
        }
    }
}

/// Every version that objects may be stored in must be there.
fn check_stored(crd: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let stored = strings_at(crd, &["status", "storedVersions"]);
    let path = path.child("storedVersions");
    let versions = list_at(crd, &["spec", "versions"]);
    for (index, name) in stored.into_iter().enumerate() {
        if !versions.iter().any(|version| str_at(version, &["name"]) == name) {
            errors.push(FieldError::invalid(&path.index(index), name, "must appear in spec.versions"));
        }
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
        definition(&crd, None, &mut errors);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "metadata.name: Invalid value: \"wrong.g.io\": must be spec.names.plural+\".\"+spec.group",
                "spec.versions[0].schema.openAPIV3Schema: Required value",
            ]
        );
    }

    #[test]
    fn names_and_versions() {
        let version =
            |name: &str| json!({"name": name, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
        let crd = json!({"metadata": {"name": "Bars.g.io"}, "status": {"storedVersions": ["v1", "v0"]}, "spec": {
            "group": "g.io", "scope": "Odd", "conversion": {"strategy": "None"}, "versions": [version("v1"), version("v1")],
            "names": {"plural": "Bars", "kind": "Bar_", "singular": "bar", "listKind": "", "categories": ["A"]},
        }});
        let mut errors = Vec::new();
        definition(&crd, None, &mut errors);
        let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and \
                     end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.scope: Unsupported value: \"Odd\": supported values: \"Cluster\", \"Namespaced\"".to_owned(),
                "spec.versions: Invalid value: [\"v1\",\"v1\"]: must contain unique version names".to_owned(),
                "spec.versions: Invalid value: [\"v1\",\"v1\"]: must have exactly one version marked as storage version".to_owned(),
                "spec.names.listKind: Required value".to_owned(),
                format!("spec.names.plural: Invalid value: \"Bars\": {label}"),
                format!("spec.names.kind: Invalid value: \"Bar_\": may have mixed case, but should otherwise match: {label}"),
                format!("spec.names.categories[0]: Invalid value: \"A\": {label}"),
                "status.storedVersions[1]: Invalid value: \"v0\": must appear in spec.versions".to_owned(),
            ]
        );
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
