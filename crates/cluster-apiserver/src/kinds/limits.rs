//! LimitRange and ResourceQuota: what may be used in a namespace.
//!
//! Here is what their objects may say, and what a LimitRange gives to new Pods ([`give_defaults`]). What they refuse is looked at by
//! `admit::limit_range` and `admit::quota`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::{
    Lookup, Rules, Strategy,
    check::Errors,
    quota_scope,
    resources::{amount, validate_amount, validate_container_name, validate_quota_name},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    quantity::Quantity,
    value::{at, child_mut, entries_at, list_at, list_at_mut, object_at, str_at, strings_at},
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
        quota_scope::validate(quota, &spec, errors);
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

/// Where a Pod says what it was given.
const GIVEN: &str = "kubernetes.io/limit-ranger";

/// Gives a new Pod's containers the defaults of the namespace's limit ranges. Whether it is within their bounds is looked at later
/// (`admit::limit_range`), when webhooks have had their say.
pub(super) fn give_defaults(pod: &mut Value, cluster: &dyn Lookup) {
    let namespace = str_at(pod, &["metadata", "namespace"]).to_owned();
    for range in cluster.list("", "limitranges", &namespace) {
        let given = give(pod, &range);
        if !given.is_empty() {
            let text = format!("LimitRanger plugin set: {}", given.join("; "));
            object_at(pod, &["metadata", "annotations"]).insert(GIVEN.to_owned(), text.into());
        }
    }
}

/// Gives what one range has; answers with what was given to which container.
fn give(pod: &mut Value, range: &Value) -> Vec<String> {
    let items = list_at(range, &["spec", "limits"]);
    let items: Vec<&Value> = items.iter().filter(|item| str_at(item, &["type"]) == "Container").collect();
    let mut given = Vec::new();
    for (list, noun) in [("containers", "container"), ("initContainers", "init container")] {
        for container in list_at_mut(pod, &["spec", list]) {
            for (from, to, word) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
                let defaults = items.iter().flat_map(|item| entries_at(item, &[from]));
                // The last item that names a resource says how much.
                let defaults: BTreeMap<&str, &Value> = defaults.collect();
                let names = fill(child_mut(container, "resources"), to, &defaults);
                if !names.is_empty() {
                    let name = str_at(container, &["name"]);
                    given.push(format!("{} {word} for {noun} {name}", names.join(", ")));
                }
            }
        }
    }
    given
}

/// Fills in what is not there; answers with the names of that.
fn fill<'a>(resources: &mut Value, list: &str, defaults: &BTreeMap<&'a str, &Value>) -> Vec<&'a str> {
    let missing = defaults.iter().filter(|(name, _)| at(resources, &[list, name]).is_none());
    let missing: Vec<(&str, Value)> = missing.map(|(name, value)| (*name, (*value).clone())).collect();
    for (name, value) in &missing {
        object_at(resources, &[list]).insert((*name).to_owned(), value.clone());
    }
    missing.into_iter().map(|(name, _)| name).collect()
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
    fn a_limit_range_gives_what_is_missing() {
        let item =
            json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}});
        let cluster = One(json!({"spec": {"limits": [item]}}));
        let mut pod = json!({"metadata": {}, "spec": {
            "containers": [{"name": "c", "resources": {"limits": {"memory": "2Gi"}}}], "initContainers": [{"name": "i"}]}});
        give_defaults(&mut pod, &cluster);
        let want = json!({"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "500m"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], want);
        assert_eq!(
            pod["metadata"]["annotations"][GIVEN],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c; \
             cpu request for init container i; cpu, memory limit for init container i"
        );
        let before = pod.clone();
        give_defaults(&mut pod, &cluster);
        assert_eq!(pod, before);
    }
}
