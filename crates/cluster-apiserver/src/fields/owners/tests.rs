//! Who owns what after updates, step by step, on a type with every sort of list and map.

use serde_json::json;

use super::*;
use crate::schema::Schema;

/// A type of which only `v1` is served.
fn schema() -> Schema {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {"name": text, "protocol": {"type": "string", "default": "TCP"},
        "value": text, "inner": {"type": "object", "properties": {"a": text, "b": text}}}});
    Schema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": text, "b": text, "n": {"type": "integer"},
        "atomic": {"type": "array", "items": text},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "keyed": {"type": "array", "items": item, "x-kubernetes-list-type": "map",
                  "x-kubernetes-list-map-keys": ["name", "protocol"]},
        "map": {"type": "object", "additionalProperties": text},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}))
}

/// An object and its managers through a history of writes.
struct History {
    schema: Schema,
    object: Value,
    managed: Managed,
    writes: u32,
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec})
}

impl History {
    fn start() -> Self {
        Self { schema: schema(), object: json!({}), managed: Managed::default(), writes: 0 }
    }

    fn owning<T>(&mut self, manager: &str, then: impl FnOnce(Ownership<'_>, &Value, Managed) -> T) -> T {
        self.writes += 1;
        let now = format!("2024-01-01T00:00:{:02}Z", self.writes);
        let ownership = Ownership {
            versions: &OneVersion { place: Place::Root(&self.schema), api_version: "v1" },
            api_version: "v1",
            reach: &Reach::Without(FieldSet::of_fields(&[&["status"]])),
            manager,
            subresource: "",
            now: &now,
        };
        then(ownership, &self.object, self.managed.clone())
    }

    fn update(&mut self, manager: &str, spec: Value) {
        let new = object(spec);
        self.managed = self.owning(manager, |ownership, old, managed| ownership.update(old, &new, managed));
        self.object = new;
    }

    /// What of the spec each manager owns.
    fn owners(&self) -> Value {
        let entries = self.managed.0.iter().map(|(manager, owned)| {
            (format!("{} {:?}", manager.name, manager.operation), owned.set.to_value()["f:spec"].clone())
        });
        Value::Object(entries.collect())
    }
}

#[test]
fn whoever_changes_a_field_owns_it_alone() {
    let mut history = History::start();
    history.update("a", json!({"a": "1", "b": "1", "map": {"x": "1"}, "atomic": ["1"], "whole": {"k": "v"}}));
    assert_eq!(
        history.owners(),
        json!({"a Update": {".": {}, "f:a": {}, "f:b": {}, "f:map": {".": {}, "f:x": {}}, "f:atomic": {}, "f:whole": {}}})
    );
    history.update("b", json!({"a": "2", "b": "1", "map": {"x": "1", "y": "1"}, "atomic": ["1", "2"]}));
    assert_eq!(
        history.owners(),
        json!({"a Update": {".": {}, "f:b": {}, "f:map": {".": {}, "f:x": {}}},
               "b Update": {"f:a": {}, "f:map": {"f:y": {}}, "f:atomic": {}}})
    );
    let before = history.managed.clone();
    history.update("c", history.object["spec"].clone());
    assert_eq!(history.managed, before, "whoever changes nothing owns nothing");
}

#[test]
fn managers_of_versions_that_are_gone_go_too() {
    let mut history = History::start();
    history.update("new", json!({"a": "1"}));
    let old = Owned { set: FieldSet::of_fields(&[&["spec", "b"]]), api_version: "v0".to_owned(), time: None };
    history.managed.0.insert(Manager::new("old", Operation::Update, "v0", ""), old);
    history.update("new", json!({"a": "2"}));
    assert_eq!(history.owners(), json!({"new Update": {".": {}, "f:a": {}}}));
}

#[test]
fn what_is_reset_is_nobodys() {
    let mut history = History::start();
    history.update("u", json!({"a": "1"}));
    let new = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x", "labels": {"l": "1"}},
        "spec": {"a": "1"}, "status": {"s": 1}});
    history.managed = history.owning("v", |ownership, old, managed| ownership.update(old, &new, managed));
    let owned = history.managed.0.values().find(|owned| owned.set.has(&["metadata", "labels"].map(Element::field)));
    assert_eq!(owned.expect("v").set.to_value(), json!({"f:metadata": {"f:labels": {".": {}, "f:l": {}}}}));
    let set = FieldSet::parse(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:resources":
        {"f:limits": {}}, "f:image": {}}}, "f:x": {}}, "f:metadata": {"f:labels": {}}}));
    let kept = Reach::Only(&[&["spec", "containers", "*", "resources"]]).filter(&set.expect("set"));
    assert_eq!(
        kept.to_value(),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:resources": {"f:limits": {}}}}}})
    );
}
