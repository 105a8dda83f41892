//! Role, ClusterRole and their bindings.

use serde_json::Value;

use super::{
    NameRule, Strategy,
    check::{Errors, immutable, supported_value, texts},
    selector,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, list_at, str_at},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Role (in a namespace) and ClusterRole.
pub(super) struct Role {
    pub(super) is_namespaced: bool,
}

/// RoleBinding (in a namespace) and ClusterRoleBinding.
pub(super) struct RoleBinding {
    pub(super) is_namespaced: bool,
}

impl Strategy for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn validate_create(&self, role: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let rules = root.child("rules");
        for (index, rule) in list_at(role, &["rules"]).iter().enumerate() {
            validate_rule(rule, self.is_namespaced, &rules.index(index), errors);
        }
        if at(role, &["aggregationRule"]).is_none() {
            return;
        }
        let aggregation = root.child("aggregationRule");
        let path = aggregation.child("clusterRoleSelectors");
        let selectors = list_at(role, &["aggregationRule", "clusterRoleSelectors"]);
        if selectors.is_empty() {
            let text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(&path, text));
        }
        for (index, selector) in selectors.iter().enumerate() {
            let before = errors.len();
            selector::validate(selector, &path.index(index), errors);
            if errors.len() > before {
                errors.push(FieldError::invalid(&path.index(index), &Value::Null, "invalid label selector."));
            }
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_rule(rule: &Value, is_namespaced: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let is_empty = |name: &str| list_at(rule, &[name]).is_empty();
    validate_what(rule, is_namespaced, path, errors);
    if is_empty("verbs") {
        errors.push(FieldError::required(&path.child("verbs"), ""));
    }
}

fn validate_what(rule: &Value, is_namespaced: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let is_empty = |name: &str| list_at(rule, &[name]).is_empty();
    if !is_empty("nonResourceURLs") {
        let field = path.child("nonResourceURLs");
        let urls = &rule["nonResourceURLs"];
        if is_namespaced {
            errors.push(FieldError::invalid(&field, urls, "namespaced rules cannot apply to non-resource URLs"));
        }
        if !(is_empty("apiGroups") && is_empty("resources") && is_empty("resourceNames")) {
            let text = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&field, urls, text));
        }
        return;
    }
    if is_empty("apiGroups") {
        let text = "resource rules must supply at least one api group";
        errors.push(FieldError::required(&path.child("apiGroups"), text));
    }
    if is_empty("resources") {
        errors.push(FieldError::required(&path.child("resources"), "resource rules must supply at least one resource"));
    }
}

impl Strategy for RoleBinding {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn validate_create(&self, binding: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("roleRef");
        let role = &binding["roleRef"];
        supported_value(str_at(role, &["apiGroup"]), &[GROUP], &path.child("apiGroup"), errors);
        let kinds: &[&str] = if self.is_namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        supported_value(str_at(role, &["kind"]), kinds, &path.child("kind"), errors);
        let name = str_at(role, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            texts(&path.child("name"), name, names::path_segment(name), errors);
        }
        let subjects = root.child("subjects");
        for (index, subject) in list_at(binding, &["subjects"]).iter().enumerate() {
            validate_subject(subject, self.is_namespaced, &subjects.index(index), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate_create(new, errors);
        immutable(new, old, "roleRef", &FieldPath::Root, errors);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_subject(subject: &Value, is_namespaced: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let name = str_at(subject, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let group = str_at(subject, &["apiGroup"]);
    match str_at(subject, &["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                texts(&path.child("name"), name, names::dns1123_subdomain(name), errors);
            }
            supported_value(group, &[""], &path.child("apiGroup"), errors);
            if !is_namespaced && str_at(subject, &["namespace"]).is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => supported_value(group, &[GROUP], &path.child("apiGroup"), errors),
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), other, &kinds));
        }
    }
}
