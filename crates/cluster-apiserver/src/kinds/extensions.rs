//! Webhook configurations, custom resource definitions and API services: what extends the API itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Generation, Rules, Strategy,
    check::{Errors, required, supported_value, texts},
    selector,
};
use crate::{
    crd,
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, child_mut, i64_at, list_at, str_at, strings_at},
};

/// MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
pub(super) struct Webhooks {
    pub(super) is_mutating: bool,
}

impl Strategy for Webhooks {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Counts(&["webhooks"]), ..Rules::PLAIN }
    }

    fn validate_create(&self, configuration: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let list = root.child("webhooks");
        let hooks = list_at(configuration, &["webhooks"]);
        let mut seen = BTreeSet::new();
        for (index, hook) in hooks.iter().enumerate() {
            let item = list.index(index);
            validate_hook(hook, &item, errors);
            if self.is_mutating
                && let Some(policy) = at(hook, &["reinvocationPolicy"]).and_then(Value::as_str)
            {
                let field = item.child("reinvocationPolicy");
                supported_value(policy, &["IfNeeded", "Never"], &field, errors);
            }
            validate_review_versions(hook, &item.child("admissionReviewVersions"), errors);
            let name = str_at(hook, &["name"]);
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&item.child("name"), name));
            }
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_hook(hook: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_hook_name(str_at(hook, &["name"]), &path.child("name"), errors);
    let list = path.child("rules");
    for (index, rule) in list_at(hook, &["rules"]).iter().enumerate() {
        validate_rule(rule, &list.index(index), errors);
    }
    for (name, supported) in [
        ("failurePolicy", ["Fail", "Ignore"]),
        ("matchPolicy", ["Equivalent", "Exact"]),
        ("sideEffects", ["None", "NoneOnDryRun"]),
    ] {
        match at(hook, &[name]).and_then(Value::as_str) {
            Some(value) => supported_value(value, &supported, &path.child(name), errors),
            None if name == "sideEffects" => {
                let text = "must specify one of None, NoneOnDryRun";
                errors.push(FieldError::required(&path.child(name), text));
            }
            None => {}
        }
    }
    if let Some(seconds) = i64_at(hook, &["timeoutSeconds"]).filter(|seconds| !(1..=30).contains(seconds)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, text));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        selector::validate(&hook[name], &path.child(name), errors);
    }
    validate_client(&hook["clientConfig"], &path.child("clientConfig"), errors);
}

fn validate_hook_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let wrong = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, &wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let text = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, text));
    }
}

fn validate_rule(rule: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let field = path.child("operations");
    let operations = strings_at(rule, &["operations"]);
    if operations.is_empty() {
        errors.push(FieldError::required(&field, ""));
    }
    if operations.len() > 1 && operations.contains(&"*") {
        let text = "if '*' is present, must not specify other operations";
        errors.push(FieldError::invalid(&field, &rule["operations"], text));
    }
    for (index, operation) in operations.iter().enumerate() {
        supported_value(operation, OPERATIONS, &field.index(index), errors);
    }
    for (name, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions"), ("resources", "resources")] {
        let field = path.child(name);
        let values = strings_at(rule, &[name]);
        if values.is_empty() {
            errors.push(FieldError::required(&field, ""));
        }
        let is_wide = if name == "resources" { values.contains(&"*/*") } else { values.contains(&"*") };
        if values.len() > 1 && is_wide {
            let star = if name == "resources" { "*/*" } else { "*" };
            let text = format!("if '{star}' is present, must not specify other {what}");
            errors.push(FieldError::invalid(&field, &rule[name], &text));
        }
        for (index, _) in values.iter().enumerate().filter(|(_, value)| value.is_empty() && name != "apiGroups") {
            errors.push(FieldError::required(&field.index(index), ""));
        }
    }
    if let Some(scope) = at(rule, &["scope"]).and_then(Value::as_str) {
        supported_value(scope, &["*", "Cluster", "Namespaced"], &path.child("scope"), errors);
    }
}

fn validate_review_versions(hook: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let versions = strings_at(hook, &["admissionReviewVersions"]);
    if versions.is_empty() {
        errors.push(FieldError::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if !seen.insert(version) {
            errors.push(FieldError::invalid(&path.index(index), *version, "duplicate version"));
            continue;
        }
        texts(&path.index(index), version, names::dns1035_label(version), errors);
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        let text = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, &hook["admissionReviewVersions"], text));
    }
}

/// Checks where a webhook is: at a URL or behind a Service.
fn validate_client(client: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match (at(client, &["url"]).and_then(Value::as_str), at(client, &["service"])) {
        (Some(_), Some(_)) | (None, None) => {
            errors.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        (Some(url), None) => {
            let field = path.child("url");
            let host = url.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or_default()));
            match host {
                Some(("https", host)) if !host.is_empty() => {
                    if host.contains('@') {
                        errors.push(FieldError::invalid(&field, url, "user information is not permitted in the URL"));
                    }
                }
                Some(("https", _)) | None if url.starts_with("https:") => {
                    errors.push(FieldError::invalid(&field, "", "host must be specified"));
                }
                Some((scheme, _)) => {
                    let text = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    errors.push(FieldError::invalid(&field, scheme, text));
                }
                None => {
                    let text = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    errors.push(FieldError::invalid(&field, "", text));
                }
            }
        }
        (None, Some(service)) => {
            let field = path.child("service");
            for name in ["name", "namespace"] {
                required(service, name, &field, errors);
            }
            let port = i64_at(service, &["port"]).unwrap_or(443);
            if names::port_number(port).is_some() {
                let text = format!("port is not valid: {}", names::port_number(port).unwrap_or_default());
                errors.push(FieldError::invalid(&field.child("port"), port, &text));
            }
        }
    }
}

/// CustomResourceDefinition; what its names and schemas mean stands in [`crd`].
pub(super) struct Definition;

impl Strategy for Definition {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn prepare_create(&self, definition: &mut Value) {
        let stored = stored_version(definition);
        self.rules().create(definition);
        let status = as_object(child_mut(definition, "status"));
        status.insert("conditions".to_owned(), Value::Null);
        status.insert("acceptedNames".to_owned(), json!({"plural": "", "kind": ""}));
        status.insert("storedVersions".to_owned(), stored.map_or(Value::Null, |version| json!([version])));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
        let Some(stored) = stored_version(new).filter(|_| subresource.is_none()) else { return };
        let versions = as_object(child_mut(new, "status")).entry("storedVersions").or_insert_with(|| json!([]));
        if let Some(list) = versions.as_array_mut()
            && !list.iter().any(|version| *version == stored)
        {
            list.push(Value::from(stored));
        }
    }

    fn validate_create(&self, definition: &Value, errors: &mut Errors) {
        crd::validate::definition(definition, errors);
        crd::validate::approval(definition, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() {
            crd::validate::definition(new, errors);
            crd::validate::approval(new, Some(old), errors);
            crd::validate::change(new, old, errors);
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        crd::validate::warnings(new)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// The version in which objects are kept.
fn stored_version(definition: &Value) -> Option<String> {
    let versions = list_at(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| version["storage"].as_bool() == Some(true));
    stored.map(|version| str_at(version, &["name"]).to_owned())
}

/// APIService: a group version served elsewhere; stored and listed, not followed.
pub(super) struct ApiService;

impl Strategy for ApiService {
    fn rules(&self) -> Rules {
        Rules::STATUS
    }

    fn validate_create(&self, service: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let metadata = root.child("metadata");
        let (group, version) = (str_at(service, &["spec", "group"]), str_at(service, &["spec", "version"]));
        let wanted = format!("{version}.{group}");
        let name = str_at(service, &["metadata", "name"]);
        if name != wanted {
            let text = format!("must be `spec.version+\".\"+spec.group`: {}", crate::field_error::quote(&wanted));
            errors.push(FieldError::invalid(&metadata.child("name"), name, &text));
        }
        let spec = root.child("spec");
        for field in ["groupPriorityMinimum", "versionPriority"] {
            let max = if field == "versionPriority" { 1000 } else { 20_000 };
            let value = i64_at(service, &["spec", field]).unwrap_or_default();
            if !(1..=max).contains(&value) {
                let text = format!("must be positive and less than {max}");
                errors.push(FieldError::invalid(&spec.child(field), value, &text));
            }
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
