//! LimitRange and ResourceQuota: what may be used in a namespace.
//!
//! A LimitRange is applied to new Pods ([`apply`]): it gives containers without resources its defaults, and refuses
//! those outside its bounds. Quotas are stored and shown; counting them is a controller's work.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::{
    Denied, Lookup, Rules, Strategy,
    check::Errors,
    resources::{amount, validate_amount, validate_container_name, validate_quota_name},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    quantity::Quantity,
    value::{as_object, at, child_mut, entries_at, list_at, list_at_mut, str_at, strings_at},
};

/// LimitRange.
pub(super) struct LimitRange;

impl Strategy for LimitRange {
    fn validate_create(&self, range: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let spec = root.child("spec");
        let list = spec.child("limits");
        let items = list_at(range, &["spec", "limits"]);
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let place = list.index(index);
            validate_type(item, &place, errors);
            if !seen.insert(&item["type"]) {
                errors.push(FieldError::duplicate(&place.child("type"), &item["type"]));
            }
            validate_item(item, &place, errors);
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_type(item: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let kind = str_at(item, &["type"]);
    let wrong = names::qualified_name(kind);
    let field = path.child("type");
    if wrong.is_empty() && !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        errors.push(FieldError::invalid(&field, kind, "must be a standard limit type or fully qualified"));
    }
    super::check::texts(&field, kind, wrong, errors);
}

fn validate_item(item: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let kind = str_at(item, &["type"]);
    let mut keys = BTreeSet::new();
    for name in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let field = path.child(name);
        let is_default = name.starts_with("default");
        let entries: Vec<_> = entries_at(item, &[name]).collect();
        if kind == "Pod" && is_default && !entries.is_empty() {
            errors.push(FieldError::forbidden(&field, "may not be specified when `type` is 'Pod'"));
            continue;
        }
        for (key, _) in entries {
            if matches!(kind, "Pod" | "Container") {
                validate_container_name(key, &field.key(key), errors);
            }
            keys.insert(key);
        }
    }
    if kind == "PersistentVolumeClaim" && !["min", "max"].iter().any(|name| at(item, &[name, "storage"]).is_some()) {
        let text = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), text));
    }
    for key in keys {
        validate_order(item, key, path, errors);
    }
}

/// min ≤ defaultRequest ≤ default ≤ max.
fn validate_order(item: &Value, key: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let get = |name: &str| at(item, &[name, key]).map(amount);
    let (min, max, limit, request) = (get("min"), get("max"), get("default"), get("defaultRequest"));
    let mut check =
        |low: &Option<Quantity>, high: &Option<Quantity>, place: &str, shown: &Option<Quantity>, text: (&str, &str)| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let text = format!("{} {low} is greater than {} {high}", text.0, text.1);
                errors.push(FieldError::invalid(&path.child(place).key(key), &shown.to_string(), &text));
            }
        };
    check(&min, &max, "min", &min, ("min value", "max value"));
    check(&min, &request, "defaultRequest", &request, ("min value", "default request value"));
    check(&request, &max, "defaultRequest", &request, ("default request value", "max value"));
    check(&request, &limit, "defaultRequest", &request, ("default request value", "default limit value"));
    check(&min, &limit, "default", &min, ("min value", "default value"));
    check(&limit, &max, "default", &max, ("default value", "max value"));
}

/// ResourceQuota.
pub(super) struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn rules(&self) -> Rules {
        Rules::STATUS
    }

    fn validate_create(&self, quota: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let spec = root.child("spec");
        let field = spec.child("hard");
        for (name, value) in entries_at(quota, &["spec", "hard"]) {
            validate_quota_name(name, &field.key(name), errors);
            validate_amount(name, value, &field.key(name), errors);
        }
        const SCOPES: &[&str] = &[
            "Terminating",
            "NotTerminating",
            "BestEffort",
            "NotBestEffort",
            "PriorityClass",
            "CrossNamespacePodAffinity",
            "VolumeAttributesClass",
        ];
        let field = spec.child("scopes");
        for scope in strings_at(quota, &["spec", "scopes"]) {
            if !SCOPES.contains(&scope) {
                errors.push(FieldError::invalid(&field, &quota["spec"]["scopes"], "unsupported scope"));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_some() {
            let root = FieldPath::Root;
            let status = root.child("status");
            for list in ["hard", "used"] {
                let field = status.child(list);
                for (name, value) in entries_at(new, &["status", list]) {
                    validate_quota_name(name, &field.key(name), errors);
                    validate_amount(name, value, &field.key(name), errors);
                }
            }
            return;
        }
        self.validate_create(new, errors);
        let scopes = |quota: &Value| -> BTreeSet<String> {
            strings_at(quota, &["spec", "scopes"]).into_iter().map(str::to_owned).collect()
        };
        if scopes(new) != scopes(old) {
            let root = FieldPath::Root;
            let spec = root.child("spec");
            let value = &new["spec"]["scopes"];
            errors.push(FieldError::invalid(&spec.child("scopes"), value, super::metadata::IMMUTABLE));
        }
    }
}

/// Gives a new Pod's containers the defaults of the namespace's limit ranges, and checks their bounds.
pub(super) fn apply(pod: &mut Value, cluster: &dyn Lookup) -> Result<(), Denied> {
    let namespace = str_at(pod, &["metadata", "namespace"]).to_owned();
    let ranges = cluster.list("", "limitranges", &namespace);
    let items: Vec<&Value> = ranges.iter().flat_map(|range| list_at(range, &["spec", "limits"])).collect();
    for item in items.iter().filter(|item| str_at(item, &["type"]) == "Container") {
        for list in ["containers", "initContainers"] {
            for container in list_at_mut(pod, &["spec", list]) {
                set_defaults(container, item);
            }
        }
    }
    for item in items {
        let message = violation(pod, item);
        if let Some(message) = message {
            return Err(Denied { message });
        }
    }
    Ok(())
}

fn set_defaults(container: &mut Value, item: &Value) {
    for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
        for (name, value) in entries_at(item, &[from]) {
            let target = as_object(child_mut(child_mut(container, "resources"), to));
            target.entry(name).or_insert_with(|| value.clone());
        }
    }
}

fn violation(pod: &Value, item: &Value) -> Option<String> {
    let kind = str_at(item, &["type"]);
    let containers: Vec<&Value> =
        ["containers", "initContainers"].iter().flat_map(|list| list_at(pod, &["spec", list])).collect();
    match kind {
        "Container" => containers.iter().find_map(|container| {
            let get = |list: &str, name: &str| at(container, &["resources", list, name]).map(amount);
            outside(item, kind, &get)
        }),
        "Pod" => {
            let regular = list_at(pod, &["spec", "containers"]);
            let get = |list: &str, name: &str| {
                let amounts = regular.iter().filter_map(|container| at(container, &["resources", list, name]));
                amounts.map(amount).reduce(|sum, next| sum.plus(&next))
            };
            outside(item, kind, &get)
        }
        _ => None,
    }
}

/// How an amount is outside the bounds of a limit range.
fn outside(item: &Value, kind: &str, get: &dyn Fn(&str, &str) -> Option<Quantity>) -> Option<String> {
    for (name, bound) in entries_at(item, &["min"]) {
        let bound = amount(bound);
        match (get("requests", name), get("limits", name)) {
            (None, _) => return Some(format!("minimum {name} usage per {kind} is {bound}.  No request is specified")),
            (Some(request), _) if request < bound => {
                return Some(format!("minimum {name} usage per {kind} is {bound}, but request is {request}"));
            }
            (_, Some(limit)) if limit < bound => {
                return Some(format!("minimum {name} usage per {kind} is {bound}, but limit is {limit}"));
            }
            _ => {}
        }
    }
    for (name, bound) in entries_at(item, &["max"]) {
        let bound = amount(bound);
        match (get("requests", name), get("limits", name)) {
            (_, None) => return Some(format!("maximum {name} usage per {kind} is {bound}.  No limit is specified")),
            (_, Some(limit)) if limit > bound => {
                return Some(format!("maximum {name} usage per {kind} is {bound}, but limit is {limit}"));
            }
            (Some(request), _) if request > bound => {
                return Some(format!("maximum {name} usage per {kind} is {bound}, but request is {request}"));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    struct One(Value);

    impl Lookup for One {
        fn get(&self, _group: &str, _plural: &str, _namespace: &str, _name: &str) -> Option<Arc<Value>> {
            None
        }

        fn list(&self, _group: &str, _plural: &str, _namespace: &str) -> Vec<Arc<Value>> {
            vec![Arc::new(self.0.clone())]
        }
    }

    #[test]
    fn a_limit_range_gives_and_takes() {
        let item = json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"}});
        let cluster = One(json!({"spec": {"limits": [item]}}));
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}});
        apply(&mut pod, &cluster).expect("within bounds");
        let want = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], want);
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}}}]}});
        let error = apply(&mut pod, &cluster).expect_err("too much");
        assert_eq!(error.to_string(), "maximum cpu usage per Container is 2, but limit is 3");
    }
}
