//! The overlay: the fields that a maker sets, laid over the cached object.
//!
//! So a maker states only what it means, whatever the server defaulted or others added stays, and a second pass finds nothing to do:
//! - A field that the maker does not set stays as it is. A null removes it.
//! - In a map, only the maker's keys are touched.
//! - A *keyed list* (containers by name, ports by number and protocol, …; `KEYED_LISTS`) has exactly the maker's items, in the maker's
//!   order, each laid over the cached item of the same key. The n-th item of a repeated key goes with the n-th.
//! - Any other list is replaced whole. An empty list where there is none changes nothing, as servers drop empty lists.
//!
//! What follows for makers: set defaults yourself inside lists that are not keyed, and write quantities in their canonical form (`500m`),
//! or the overlay differs on every pass (which costs a PUT that changes nothing).
//!
//! The keys are Kubernetes' own (`x-kubernetes-list-map-keys`, `patchMergeKey`), by where the list stands in core/v1 and apps/v1.

use serde_json::{Map, Value};

/// A list whose items have an identity: the last names on the path to it (a list's items add none), and the fields that identify an item.
struct KeyedList {
    parent: Option<&'static str>,
    name: &'static str,
    keys: &'static [ItemKey],
}

/// A field that is part of an item's identity; an absent one counts as `default`.
struct ItemKey {
    field: &'static str,
    default: &'static str,
}

const fn by(field: &'static str) -> ItemKey {
    ItemKey { field, default: "" }
}

const PROTOCOL: ItemKey = ItemKey { field: "protocol", default: "TCP" };

const KEYED_LISTS: &[KeyedList] = &[
    KeyedList { parent: Some("containers"), name: "ports", keys: &[by("containerPort"), PROTOCOL] },
    KeyedList { parent: Some("initContainers"), name: "ports", keys: &[by("containerPort"), PROTOCOL] },
    KeyedList { parent: Some("spec"), name: "ports", keys: &[by("port"), PROTOCOL] },
    KeyedList { parent: Some("metadata"), name: "ownerReferences", keys: &[by("uid")] },
    KeyedList { parent: None, name: "containers", keys: &[by("name")] },
    KeyedList { parent: None, name: "initContainers", keys: &[by("name")] },
    KeyedList { parent: None, name: "ephemeralContainers", keys: &[by("name")] },
    KeyedList { parent: None, name: "env", keys: &[by("name")] },
    KeyedList { parent: None, name: "volumes", keys: &[by("name")] },
    KeyedList { parent: None, name: "volumeMounts", keys: &[by("mountPath")] },
    KeyedList { parent: None, name: "volumeDevices", keys: &[by("devicePath")] },
    KeyedList { parent: None, name: "imagePullSecrets", keys: &[by("name")] },
    KeyedList { parent: None, name: "hostAliases", keys: &[by("ip")] },
    KeyedList { parent: None, name: "topologySpreadConstraints", keys: &[by("topologyKey"), by("whenUnsatisfiable")] },
    KeyedList { parent: None, name: "conditions", keys: &[by("type")] },
    KeyedList { parent: None, name: "webhooks", keys: &[by("name")] },
];

/// `base` with the fields of `desired` laid over it.
pub fn overlay(base: &Value, desired: &Value) -> Value {
    let mut merged = base.clone();
    lay(&mut merged, desired, &mut Vec::new());
    merged
}

fn lay<'a>(base: &mut Value, desired: &'a Value, path: &mut Vec<&'a str>) {
    match (base, desired) {
        (Value::Object(base), Value::Object(desired)) => lay_map(base, desired, path),
        (Value::Array(base), Value::Array(desired)) => lay_list(base, desired, path),
        (base, desired) => *base = without_nulls(desired),
    }
}

fn lay_map<'a>(base: &mut Map<String, Value>, desired: &'a Map<String, Value>, path: &mut Vec<&'a str>) {
    for (name, value) in desired {
        match (base.get_mut(name), value) {
            (_, Value::Null) => {
                base.remove(name);
            }
            (Some(field), value) => {
                path.push(name);
                lay(field, value, path);
                path.pop();
            }
            (None, Value::Array(items)) if items.is_empty() => {}
            (None, value) => {
                base.insert(name.clone(), without_nulls(value));
            }
        }
    }
}

fn lay_list<'a>(base: &mut Vec<Value>, desired: &'a [Value], path: &mut Vec<&'a str>) {
    let Some(keys) = keys_of(path) else {
        *base = desired.iter().map(without_nulls).collect();
        return;
    };
    let mut cached: Vec<Option<Value>> = std::mem::take(base).into_iter().map(Some).collect();
    for item in desired {
        let same =
            cached.iter_mut().find(|cached| cached.as_ref().is_some_and(|cached| is_same_item(cached, item, keys)));
        match same.and_then(Option::take) {
            Some(mut merged) => {
                lay(&mut merged, item, path);
                base.push(merged);
            }
            None => base.push(without_nulls(item)),
        }
    }
}

fn keys_of(path: &[&str]) -> Option<&'static [ItemKey]> {
    let (name, parents) = path.split_last()?;
    let parent = parents.last();
    KEYED_LISTS
        .iter()
        .find(|list| list.name == *name && list.parent.is_none_or(|expected| parent == Some(&expected)))
        .map(|list| list.keys)
}

fn is_same_item(a: &Value, b: &Value, keys: &[ItemKey]) -> bool {
    keys.iter().all(|key| {
        let default = Value::from(key.default);
        let [a, b] = [a, b].map(|item| item.get(key.field).filter(|value| !value.is_null()));
        // An item that lacks a key that has no default has no identity, so it is the same as none.
        !(key.default.is_empty() && a.is_none()) && a.unwrap_or(&default) == b.unwrap_or(&default)
    })
}

/// A null says "not there" also inside something new.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(case: &str, base: Value, desired: Value, expected: Value) {
        let merged = overlay(&base, &desired);
        assert_eq!(merged, expected, "{case}");
        assert_eq!(overlay(&merged, &desired), merged, "{case}: a second pass changes nothing");
    }

    #[test]
    fn maps_and_fields() {
        check("others' fields stay", json!({"a": 1, "b": 2}), json!({"b": 3}), json!({"a": 1, "b": 3}));
        check(
            "others' labels stay",
            json!({"labels": {"theirs": "1", "mine": "2"}}),
            json!({"labels": {"mine": "3"}}),
            json!({"labels": {"theirs": "1", "mine": "3"}}),
        );
        check(
            "null removes",
            json!({"labels": {"a": "1", "b": "2"}}),
            json!({"labels": {"a": null}}),
            json!({"labels": {"b": "2"}}),
        );
        check("null of nothing", json!({}), json!({"a": null, "b": {"c": null}}), json!({"b": {}}));
        check("a scalar is replaced", json!({"replicas": 1}), json!({"replicas": 0}), json!({"replicas": 0}));
        check("another type is replaced", json!({"port": "http"}), json!({"port": 80}), json!({"port": 80}));
        check("an empty object is set", json!({}), json!({"emptyDir": {}}), json!({"emptyDir": {}}));
    }

    #[test]
    fn plain_lists_are_replaced_whole() {
        check("args", json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]}));
        check(
            "items are not merged",
            json!({"rules": [{"host": "a", "x": 1}]}),
            json!({"rules": [{"host": "a"}]}),
            json!({"rules": [{"host": "a"}]}),
        );
        check("none and empty are the same", json!({}), json!({"args": []}), json!({}));
        check("emptied", json!({"args": ["a"]}), json!({"args": []}), json!({"args": []}));
    }

    #[test]
    fn keyed_lists_have_the_makers_items_over_the_cached_ones() {
        check(
            "defaults inside an item stay, strangers go, the order is the maker's",
            json!({"containers": [
                {"name": "stranger"},
                {"name": "a", "image": "old", "terminationMessagePath": "/dev/termination-log"},
            ]}),
            json!({"containers": [{"name": "b", "image": "b"}, {"name": "a", "image": "new"}]}),
            json!({"containers": [
                {"name": "b", "image": "b"},
                {"name": "a", "image": "new", "terminationMessagePath": "/dev/termination-log"},
            ]}),
        );
        check(
            "lists inside items",
            json!({"containers": [{"name": "a", "env": [{"name": "X", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "p"}}}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "X", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "p"}}}]}]}),
        );
        check(
            "a repeated key goes by occurrence",
            json!({"env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}),
            json!({"env": [{"name": "X", "value": "1"}, {"name": "X", "value": "3"}]}),
            json!({"env": [{"name": "X", "value": "1"}, {"name": "X", "value": "3"}]}),
        );
    }

    #[test]
    fn ports_are_known_by_number_and_protocol() {
        check(
            "a container's",
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}]}]}),
        );
        check(
            "a service's",
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8012}, {"port": 80, "protocol": "UDP"}]}}),
            json!({"spec": {"ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 8012, "nodePort": 30000},
                {"port": 80, "protocol": "UDP"},
            ]}}),
        );
        check(
            "an EndpointSlice's are a plain list",
            json!({"ports": [{"port": 80, "x": 1}]}),
            json!({"ports": [{"port": 80}]}),
            json!({"ports": [{"port": 80}]}),
        );
    }

    #[test]
    fn an_item_without_its_key_is_new() {
        check(
            "a container without a name",
            json!({"containers": [{"image": "old", "x": 1}]}),
            json!({"containers": [{"image": "new"}]}),
            json!({"containers": [{"image": "new"}]}),
        );
    }
}
