//! Who owns what after updates and applies, step by step, on a type with every sort of list and map.

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
        let before = self.managed.clone();
        let updated = self.owning(manager, |ownership, old, managed| ownership.update(old, &new, managed));
        let sets = |managed: &Managed| managed.0.iter().map(|(m, o)| (m.clone(), o.set.clone())).collect::<Vec<_>>();
        assert_eq!(updated.differs, sets(&before) != sets(&updated.managed));
        self.managed = updated.managed;
        self.object = new;
    }

    /// Applies; answers with the conflicts.
    fn apply(&mut self, manager: &str, spec: Value, is_forced: bool) -> Vec<String> {
        let config = object(spec);
        let applied = self
            .owning(manager, |ownership, live, managed| ownership.apply(live, &config, managed, &json!({}), is_forced));
        match applied {
            Ok(Applied { object, managed }) => {
                (self.object, self.managed) = (object, managed);
                Vec::new()
            }
            Err(conflicts) => {
                let shown = |(manager, set): (&Manager, &FieldSet)| {
                    let text = |path: &Vec<Element>| path.iter().map(ToString::to_string).collect::<String>();
                    set.paths().iter().map(|path| format!("{manager}: {}", text(path))).collect::<Vec<_>>()
                };
                conflicts.iter().flat_map(shown).collect()
            }
        }
    }

    fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    /// What of the spec each manager owns.
    fn owners(&self) -> Value {
        let entries = self.managed.0.iter().map(|(manager, owned)| {
            (format!("{} {:?}", manager.name, manager.operation), owned.set.clone().into_value()["f:spec"].clone())
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
fn what_is_applied_no_more_goes_unless_others_own_it() {
    let mut history = History::start();
    let all = json!({"a": "1", "b": "1", "map": {"x": "1", "y": "1"}, "set": ["p", "q"],
        "keyed": [{"name": "k", "value": "1"}, {"name": "l", "value": "1"}]});
    assert!(history.apply("a", all, false).is_empty());
    assert!(history.apply("b", json!({"b": "1", "set": ["q"], "keyed": [{"name": "l"}]}), false).is_empty());
    assert!(history.apply("a", json!({"a": "1", "map": {"x": "1"}}), false).is_empty());
    assert_eq!(*history.spec(), json!({"a": "1", "b": "1", "map": {"x": "1"}, "set": ["q"], "keyed": [{"name": "l"}]}));
    assert_eq!(
        history.owners(),
        json!({"a Apply": {"f:a": {}, "f:map": {"f:x": {}}},
               "b Apply": {"f:b": {}, "f:set": {"v:\"q\"": {}},
                           "f:keyed": {"k:{\"name\":\"l\",\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}}})
    );
    assert!(history.apply("a", json!({}), false).is_empty());
    assert_eq!(history.spec()["map"], Value::Null);
    assert_eq!(history.spec()["b"], json!("1"));
}

#[test]
fn what_others_own_is_a_conflict() {
    let mut history = History::start();
    history.update("u", json!({"a": "1", "keyed": [{"name": "k", "value": "1"}], "set": ["p"], "atomic": ["1"]}));
    let wanted = json!({"a": "2", "keyed": [{"name": "k", "value": "2"}], "set": ["p"], "atomic": ["2"]});
    assert_eq!(
        history.apply("a", wanted.clone(), false),
        [
            "\"u\" using v1: .spec.a",
            "\"u\" using v1: .spec.atomic",
            "\"u\" using v1: .spec.keyed[name=\"k\",protocol=\"TCP\"].value"
        ]
    );
    assert!(history.apply("a", wanted.clone(), true).is_empty());
    assert_eq!(*history.spec(), wanted);
    assert_eq!(history.owners()["u Update"]["f:a"], Value::Null);
    assert_eq!(history.apply("b", json!({"a": "3"}), false), ["\"a\": .spec.a"]);
    assert!(history.apply("b", json!({"a": "2"}), false).is_empty(), "the same value is shared");
    assert_eq!(history.owners()["b Apply"], json!({"f:a": {}}));
    assert_eq!(history.apply("a", json!({"a": "4"}), false), ["\"b\": .spec.a"]);
}

#[test]
fn an_apply_of_the_same_changes_nothing() {
    let mut history = History::start();
    let spec = json!({"a": "1", "keyed": [{"name": "k", "inner": {"a": "1"}}], "any": {"free": {"x": [1, {"y": 2}]}}});
    assert!(history.apply("a", spec.clone(), false).is_empty());
    let (object, managed) = (history.object.clone(), history.managed.clone());
    assert!(history.apply("a", spec, false).is_empty());
    assert_eq!((history.object, history.managed), (object, managed));
}

#[test]
fn lists_keep_their_order_and_follow_the_applied_one() {
    let mut history = History::start();
    let names = |spec: &Value| -> Vec<String> {
        spec["set"].as_array().expect("set").iter().map(|item| item.as_str().expect("text").to_owned()).collect()
    };
    history.update("u", json!({"set": ["a", "b", "c"]}));
    assert!(history.apply("m", json!({"set": ["d"]}), false).is_empty());
    assert_eq!(names(history.spec()), ["a", "b", "c", "d"]);
    assert!(history.apply("m", json!({"set": ["c", "a", "e"]}), false).is_empty());
    assert_eq!(names(history.spec()), ["b", "c", "a", "e"]);
}

#[test]
fn who_applies_first_to_what_nobody_is_known_to_own() {
    let mut history = History::start();
    history.object = object(json!({"a": "1", "b": "1"}));
    assert_eq!(history.apply("m", json!({"a": "2"}), false), ["\"before-first-apply\" using v1: .spec.a"]);
    assert!(history.apply("m", json!({"a": "1"}), false).is_empty());
    assert_eq!(
        history.owners(),
        json!({"m Apply": {"f:a": {}}, "before-first-apply Update": {".": {}, "f:a": {}, "f:b": {}}})
    );
}

#[test]
fn managers_of_versions_that_are_gone_go_too() {
    let mut history = History::start();
    history.update("new", json!({"a": "1"}));
    let old = Owned { set: FieldSet::of_fields(&[&["spec", "b"]]).into(), api_version: "v0".to_owned(), time: None };
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
    history.managed = history.owning("v", |ownership, old, managed| ownership.update(old, &new, managed)).managed;
    let owned = history.managed.0.values().find(|owned| owned.set.has(&["metadata", "labels"].map(Element::field)));
    assert_eq!(owned.expect("v").set.clone().into_value(), json!({"f:metadata": {"f:labels": {".": {}, "f:l": {}}}}));
    let set = FieldSet::parse(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:resources":
        {"f:limits": {}}, "f:image": {}}}, "f:x": {}}, "f:metadata": {"f:labels": {}}}));
    let kept = Reach::Only(&[&["spec", "containers", "*", "resources"]]).filter(&set.expect("set"));
    assert_eq!(
        kept.to_value(),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:resources": {"f:limits": {}}}}}})
    );
}

#[test]
fn what_is_not_of_its_type_is_named() {
    let schema = schema();
    let place = Place::Root(&schema);
    for (spec, errors) in [
        (json!({"zzz": 1}), vec![".spec.zzz: field not declared in schema"]),
        (json!({"a": null, "any": {"free": [1]}, "map": {"x": "1"}}), vec![]),
        (json!({"map": "x"}), vec![".spec.map: expected map, got &{x}"]),
        (json!({"set": ["a", "a"]}), vec![".spec.set: duplicate entries for key [=\"a\"]"]),
        (
            json!({"set": [{}]}),
            vec![".spec.set: element 0: associative list without keys has an element that's a map type"],
        ),
        (
            json!({"keyed": [{"value": 1}, {"name": "k", "protocol": "TCP"}, {"name": "k"}]}),
            vec![
                ".spec.keyed[protocol=\"TCP\"].value: expected string, got &value.valueUnstructured{Value:1}",
                ".spec.keyed: duplicate entries for key [name=\"k\",protocol=\"TCP\"]",
            ],
        ),
    ] {
        let found = crate::fields::errors_of(place, &object(spec.clone()));
        assert_eq!(
            found.into_iter().collect::<std::collections::BTreeSet<_>>(),
            errors.into_iter().map(str::to_owned).collect(),
            "{spec}"
        );
    }
}

/// A type whose `v1` knows no fields and whose `v2` does.
struct TwoVersions([Schema; 2]);

impl Versions for TwoVersions {
    fn place(&self, api_version: &str) -> Option<Place<'_>> {
        let [loose, known] = &self.0;
        Some(Place::Root(if api_version == "v1" { loose } else { known }))
    }

    fn convert(&self, object: &Value, to: &str) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = to.into();
        object
    }
}

#[test]
fn what_is_on_the_way_to_a_field_stays_with_it_whatever_version_it_was_applied_in() {
    let loose = Schema::parse(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let versions = TwoVersions([loose, schema()]);
    let apply = |api_version: &str, live: &Value, spec: Value, managed: Managed| {
        let config = json!({"apiVersion": api_version, "kind": "K", "metadata": {"name": "x"}, "spec": spec});
        let ownership = Ownership {
            versions: &versions,
            api_version,
            reach: &Reach::Without(FieldSet::default()),
            manager: "m",
            subresource: "",
            now: "2024-01-01T00:00:00Z",
        };
        ownership.apply(live, &config, managed, &json!({}), false).expect("no conflict")
    };
    let first = apply("v1", &json!({}), json!({"a": "x", "b": "y"}), Managed::default());
    let live = versions.convert(&first.object, "v2");
    let second = apply("v2", &live, json!({"a": "x"}), first.managed);
    assert_eq!(second.object["spec"], json!({"a": "x"}));
}
