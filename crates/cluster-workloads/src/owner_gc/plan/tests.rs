//! The table of `owner_gc`, on small graphs.

use std::sync::Arc;

use base_controller::{GroupKind, Key};
use kube::api::ApiResource;
use serde_json::{Value, json};

use super::*;
use crate::catalog::Metadata;

struct World {
    graph: Graph,
    absent: Absent,
    is_complete: bool,
}

impl Kinds for World {
    fn is_namespaced(&self, kind: &GroupKind) -> Option<bool> {
        match kind.kind() {
            "Node" => Some(false),
            "Unserved" => None,
            _ => Some(true),
        }
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}

/// An owner reference to the object whose uid and name are `uid`.
fn owner(kind: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": uid, "uid": uid, "blockOwnerDeletion": true})
}

fn node(uid: &str, meta: Value) -> Node {
    let base = json!({"name": uid, "namespace": "n", "uid": uid, "resourceVersion": "1"});
    let meta = base_controller::overlay::overlay(&base, &meta);
    let object: Metadata = serde_json::from_value(json!({ "metadata": meta })).unwrap();
    let resource = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
    };
    Node { resource: Arc::new(resource), key: Key::of(&object), object: Arc::new(object) }
}

fn world(nodes: impl IntoIterator<Item = (&'static str, Value)>) -> World {
    let mut graph = Graph::default();
    for (uid, meta) in nodes {
        graph.set(node(uid, meta));
    }
    World { graph, absent: Absent::default(), is_complete: true }
}

impl World {
    fn knows_absent(mut self, uid: &str) -> Self {
        let kind = GroupKind::new("", "Thing");
        self.absent.add(Missing { kind, key: Key::new("n", uid), uid: uid.into() });
        self
    }

    fn decide(&self, uid: &str) -> Decision {
        decide(uid, &Facts { graph: &self.graph, absent: &self.absent, kinds: self })
    }

    fn writes(&self, uid: &str) -> Value {
        match self.decide(uid) {
            Decision::Write(changes) => serde_json::to_value(changes).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

const GONE: &str = "2026-01-01T00:00:00Z";

fn waiting() -> Value {
    json!({"deletionTimestamp": GONE, "finalizers": [FOREGROUND]})
}

#[test]
fn an_object_with_an_owner_stays() {
    let world = world([("a", json!({})), ("b", json!({"ownerReferences": [owner("Thing", "a")]}))]);
    assert!(matches!(world.decide("b"), Decision::Rest));
    assert!(matches!(world.decide("a"), Decision::Rest));
}

#[test]
fn an_owner_that_nobody_has_seen_is_asked_for_before_anything_is_deleted() {
    let world = world([("b", json!({"ownerReferences": [owner("Thing", "a")]}))]);
    assert!(matches!(world.decide("b"), Decision::Ask(owners) if owners[0].key.to_string() == "n/a"));
    let world = world.knows_absent("a");
    assert_eq!(world.writes("b"), json!([{"delete": "Thing n/b", "propagationPolicy": "Background"}]));
}

#[test]
fn another_uid_or_namespace_is_another_owner() {
    let mut reference = owner("Thing", "a");
    reference["name"] = json!("renamed");
    let world = world([("a", json!({})), ("b", json!({"ownerReferences": [reference]}))]);
    assert!(matches!(world.decide("b"), Decision::Ask(_)));
    let elsewhere = json!({"namespace": "elsewhere", "ownerReferences": [owner("Thing", "a")]});
    let world = self::world([("a", json!({})), ("b", elsewhere)]);
    assert!(matches!(world.decide("b"), Decision::Ask(owners) if owners[0].key.namespace() == "elsewhere"));
}

#[test]
fn references_that_cannot_be_followed_count_as_there() {
    let world = world([
        ("cluster", json!({"namespace": null, "ownerReferences": [owner("Thing", "x")]})),
        ("unserved", json!({"ownerReferences": [owner("Unserved", "x")]})),
    ]);
    assert!(matches!(world.decide("cluster"), Decision::Rest));
    assert!(matches!(world.decide("unserved"), Decision::Rest));
}

#[test]
fn one_absent_owner_among_others_loses_its_reference() {
    let both = json!({"ownerReferences": [owner("Thing", "a"), owner("Thing", "gone")]});
    let world = world([("a", json!({})), ("b", both)]).knows_absent("gone");
    let writes = world.writes("b");
    assert_eq!(writes[0]["merge"], "Thing n/b");
    assert_eq!(writes[0]["fields"]["metadata"]["ownerReferences"], json!([owner("Thing", "a")]));
    assert_eq!(writes[0]["fields"]["metadata"]["resourceVersion"], "1");
}

#[test]
fn an_object_goes_as_its_own_finalizers_want() {
    let owned = |finalizer: &str| json!({"finalizers": [finalizer], "ownerReferences": [owner("Thing", "a")]});
    let world = world([("o", owned(ORPHAN)), ("f", owned(FOREGROUND)), ("x", owned("x/y"))]).knows_absent("a");
    let policy = |uid: &str| world.writes(uid)[0]["propagationPolicy"].clone();
    assert_eq!([policy("o"), policy("f"), policy("x")], ["Orphan", "Foreground", "Background"]);
}

#[test]
fn a_waiting_owner_has_its_dependents_deleted_and_then_goes() {
    let owned_by = |uid: &str| json!({"ownerReferences": [owner("Thing", uid)]});
    let world = world([("a", waiting()), ("b", owned_by("a")), ("c", owned_by("b"))]);
    assert!(matches!(world.decide("a"), Decision::Wake(uids) if uids == ["b"]));
    assert_eq!(world.writes("b")[0]["propagationPolicy"], "Foreground", "it has a dependent of its own");
    let world = self::world([("a", waiting()), ("b", owned_by("a"))]);
    assert_eq!(world.writes("b")[0]["propagationPolicy"], "Background");
    let world = self::world([("a", waiting())]);
    assert_eq!(world.writes("a")[0]["fields"]["metadata"]["finalizers"], json!([]));
}

#[test]
fn a_dependent_that_does_not_block_is_not_waited_for() {
    let mut reference = owner("Thing", "a");
    reference["blockOwnerDeletion"] = json!(false);
    let world = world([("a", waiting()), ("b", json!({"ownerReferences": [reference]}))]);
    assert_eq!(world.writes("a")[0]["fields"]["metadata"]["finalizers"], json!([]));
    assert_eq!(world.writes("b")[0]["delete"], "Thing n/b");
}

#[test]
fn a_circle_is_broken() {
    let mut a = waiting();
    a["ownerReferences"] = json!([owner("Thing", "b")]);
    let world = world([("a", a), ("b", json!({"ownerReferences": [owner("Thing", "a")]}))]);
    let writes = world.writes("b");
    assert_eq!(writes[0]["fields"]["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], false);
    assert_eq!(writes[1]["propagationPolicy"], "Foreground");
}

#[test]
fn orphans_lose_the_reference_before_their_owner_goes() {
    let orphaning = json!({"deletionTimestamp": GONE, "finalizers": ["x/y", ORPHAN]});
    let two = json!({"ownerReferences": [owner("Thing", "a"), owner("Thing", "other")]});
    let world = world([("a", orphaning), ("b", two)]);
    let writes = world.writes("a");
    assert_eq!(writes[0]["fields"]["metadata"]["ownerReferences"], json!([owner("Thing", "other")]));
    assert_eq!(writes[1]["fields"]["metadata"]["finalizers"], json!(["x/y"]));
}

#[test]
fn no_finalizer_goes_while_a_kind_is_unknown() {
    let mut world = world([("a", waiting())]);
    world.is_complete = false;
    assert!(matches!(world.decide("a"), Decision::Wait));
}

#[test]
fn changes_name_those_that_have_to_be_looked_at() {
    let mut graph = Graph::default();
    let owned = |meta: Value| {
        node("b", base_controller::overlay::overlay(&json!({"ownerReferences": [owner("Thing", "a")]}), &meta))
    };
    assert!(graph.set(node("a", json!({}))).is_empty());
    assert_eq!(graph.set(owned(json!({}))), ["b".to_owned()].into());
    assert_eq!(graph.set(node("a", waiting())), ["a".to_owned(), "b".to_owned()].into());
    assert_eq!(graph.set(node("a", waiting())), ["a".to_owned()].into(), "it waits already");
    assert_eq!(graph.remove("b"), ["a".to_owned()].into());
    graph.set(owned(json!({})));
    assert_eq!(graph.remove("a"), ["b".to_owned()].into());
}
