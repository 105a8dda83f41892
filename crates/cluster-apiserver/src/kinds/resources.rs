//! Names and amounts of resources: what a container, a quota or a limit range may count.
//!
//! Specified by Kubernetes' `ValidateContainerResourceRequirements` and its neighbours.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::check::Errors;
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    quantity::Quantity,
    value::{at, entries_at, list_at, str_at},
};

const NOT_WHOLE: &str = "must be an integer";
const HUGE_PAGES: &str = "hugepages-";
const NATIVE_DOMAIN: &str = "kubernetes.io/";

/// The amount of a canonical object.
pub(super) fn amount(value: &Value) -> Quantity {
    value.as_str().and_then(|text| Quantity::parse(text).ok()).unwrap_or_else(|| Quantity::from_units(0))
}

fn is_standard_for_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES)
}

pub(super) fn is_standard_for_quota(name: &str) -> bool {
    const STANDARD: &[&str] = &[
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.storage",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "services.nodeports",
        "services.loadbalancers",
    ];
    STANDARD.contains(&name) || name.starts_with(HUGE_PAGES) || name.starts_with("requests.hugepages-")
}

fn is_standard(name: &str) -> bool {
    is_standard_for_quota(name) || name == "storage"
}

/// Whether amounts of the resource are whole.
fn is_whole(name: &str) -> bool {
    const COUNTED: &[&str] = &[
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    COUNTED.contains(&name) || is_extended(name)
}

/// Whether the name is a resource of somebody else's domain.
pub(super) fn is_extended(name: &str) -> bool {
    let is_native = !name.contains('/') || name.contains(NATIVE_DOMAIN);
    !is_native && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether one may promise more of the resource than there is.
fn is_overcommit_allowed(name: &str) -> bool {
    let is_native = !name.contains('/') || name.contains(NATIVE_DOMAIN);
    is_native && !name.starts_with(HUGE_PAGES)
}

/// What is wrong with the name of any resource.
fn validate_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    super::check::texts(path, name, wrong, errors);
}

/// What is wrong with the name of a container's resource.
pub(super) fn validate_container_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_name(name, path, errors);
    if !name.contains('/') {
        if !is_standard_for_containers(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !name.contains(NATIVE_DOMAIN) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// What is wrong with the name of a quota's resource.
pub(super) fn validate_quota_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_name(name, path, errors);
    if !name.contains('/') && !is_standard_for_quota(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
}

/// What is wrong with an amount.
pub(super) fn validate_amount(name: &str, value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let quantity = amount(value);
    if quantity.is_negative() {
        errors.push(FieldError::invalid(path, value, names::NEGATIVE));
    }
    if is_whole(name) && !quantity.is_whole() {
        errors.push(FieldError::invalid(path, value, NOT_WHOLE));
    }
}

/// A Pod's resource claims.
#[derive(Default)]
pub(super) struct Claims<'a> {
    names: BTreeSet<&'a str>,
    /// All of them, as a refusal lists them.
    listed: String,
}

impl<'a> Claims<'a> {
    /// Those of a Pod's spec.
    pub(super) fn of(spec: &'a Value) -> Self {
        let names: Vec<&str> =
            list_at(spec, &["resourceClaims"]).iter().map(|claim| str_at(claim, &["name"])).collect();
        Self { listed: names.join(", "), names: names.into_iter().collect() }
    }
}

/// Checks the resources of a container, whose claims must be among `claims`, the Pod's.
pub(super) fn validate_requirements(resources: &Value, claims: &Claims<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut has_huge_pages = false;
    let mut has_base = false;
    for list in ["limits", "requests"] {
        let field = path.child(list);
        for (name, value) in entries_at(resources, &[list]) {
            let place = field.key(name);
            validate_container_name(name, &place, errors);
            validate_amount(name, value, &place, errors);
            if list == "requests" {
                validate_request(resources, name, value, path, errors);
            }
            if name.starts_with(HUGE_PAGES) {
                has_huge_pages = true;
                validate_huge_pages(name, value, &place, errors);
            }
            has_base |= matches!(name, "cpu" | "memory");
        }
    }
    if has_huge_pages && !has_base {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    validate_claims(resources, claims, path, errors);
}

/// A request may not be above its limit, and some resources need a limit that equals it.
fn validate_request(resources: &Value, name: &str, value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let request = amount(value);
    let field = path.child("requests");
    match at(resources, &["limits", name]).map(amount) {
        Some(limit) if request != limit && !is_overcommit_allowed(name) => {
            errors.push(FieldError::invalid(&field, value, &format!("must be equal to {name} limit of {limit}")));
        }
        Some(limit) if request > limit => {
            let text = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&field, value, &text));
        }
        None if !is_overcommit_allowed(name) => {
            let text = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(&path.child("limits"), text));
        }
        _ => {}
    }
}

fn validate_huge_pages(name: &str, value: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let size = name.strip_prefix(HUGE_PAGES).and_then(|size| Quantity::parse(size).ok());
    let Some(size) = size.filter(|size| size.units() > 0) else { return };
    if amount(value).units() % size.units() != 0 {
        let text = format!("{} is not positive integer multiple of {name}", amount(value));
        errors.push(FieldError::invalid(path, value, &text));
    }
}

fn validate_claims(resources: &Value, known: &Claims<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    let list = path.child("claims");
    let claims = list_at(resources, &["claims"]);
    let mut seen = HashSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let name = str_at(claim, &["name"]);
        let is_new = seen.insert(claim);
        if name.is_empty() {
            errors.push(FieldError::required(&list.index(index), ""));
        } else if !is_new {
            errors.push(FieldError::duplicate(&list.index(index), name));
        }
        if !known.names.contains(name) {
            let mut error = FieldError::not_found(&list.index(index), name);
            error.message.push_str(": must be one of the names in pod.spec.resourceClaims");
            let rest =
                if known.names.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.listed) };
            error.message.push_str(&rest);
            errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(resources: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        validate_requirements(resources, &Claims::default(), &FieldPath::Root.child("resources"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_stay_within_limits() {
        assert!(wrong(&json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})).is_empty());
        assert_eq!(
            wrong(&json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
            [r#"resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#]
        );
        assert_eq!(
            wrong(&json!({"requests": {"example.com/gpu": "1"}})),
            ["resources.limits: Required value: Limit must be set for non overcommitable resources"]
        );
        assert_eq!(
            wrong(&json!({"limits": {"nope": "1"}})),
            [
                r#"resources.limits[nope]: Invalid value: "nope": must be a standard resource type or fully qualified"#,
                r#"resources.limits[nope]: Invalid value: "nope": must be a standard resource for containers"#,
            ]
        );
        assert_eq!(
            wrong(&json!({"limits": {"memory": "-1"}})),
            [r#"resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0"#]
        );
    }
}
