//! The form of managedFields is read and written whole, and sets obey the laws of sets.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn set(fields: Value) -> FieldSet {
    FieldSet::parse(&fields).expect("set")
}

#[test]
fn a_member_and_what_is_below_it_are_different() {
    let both = set(json!({"f:data": {".": {}, "f:a": {}}}));
    assert!(both.has(&[Element::field("data")]) && both.has(&[Element::field("data"), Element::field("a")]));
    let below = set(json!({"f:data": {"f:a": {}}}));
    assert!(!below.has(&[Element::field("data")]));
    assert_eq!(both.difference(&below), set(json!({"f:data": {}})));
    assert_eq!(both.difference(&set(json!({"f:data": {}}))), below);
    assert!(both.recursive_difference(&set(json!({"f:data": {}}))).is_empty());
    assert!(!both.has(&[]) && FieldSet::default().is_empty());
}

#[test]
fn the_text_of_kubernetes_survives() {
    let text = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"a/b\"": {}}},
        "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:x": {"i:1": {}}}});
    assert_eq!(set(text.clone()).to_value(), text);
    assert_eq!(set(json!({"f:a": null, "z:b": {}, ".": {}})).to_value(), json!({"f:a": {}}));
    for malformed in [json!([]), json!({"f:a": 1}), json!({"a": {}}), json!({"f:a": {"k:1": {}}})] {
        assert!(FieldSet::parse(&malformed).is_err(), "{malformed}");
    }
}

#[test]
fn paths_are_listed_by_level() {
    let paths = set(json!({"f:a": {"f:b": {}}, "f:c": {".": {}, "f:d": {}}})).paths();
    let shown: Vec<String> = paths.iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(shown, [".c", ".a.b", ".c.d"]);
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        "[abc]".prop_map(|name| Element::field(&name)),
        (0..3i64, "[xy]").prop_map(|(a, b)| Element::key(vec![("p".into(), json!(a)), ("n".into(), json!(b))])),
        prop_oneof![Just(json!("s")), Just(json!(1)), Just(json!(2)), Just(json!(true))].prop_map(Element::Item),
        (0..3i64).prop_map(Element::Index),
    ]
}

fn sets() -> impl Strategy<Value = FieldSet> {
    prop::collection::vec(prop::collection::vec(element(), 1..4), 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        paths.into_iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(a in sets()) {
        prop_assert_eq!(set(a.to_value()), a);
    }

    #[test]
    fn sets_are_sets(a in sets(), b in sets(), c in sets()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert_eq!(a.difference(&b.union(&c)), a.difference(&b).difference(&c));
        prop_assert!(a.difference(&a).is_empty());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert!(a.recursive_difference(&b).difference(&a.difference(&b)).is_empty());
        for path in a.paths() {
            prop_assert!(a.has(&path) && a.union(&b).has(&path));
            prop_assert_eq!(a.difference(&b).has(&path), !b.has(&path));
            prop_assert_eq!(a.intersection(&b).has(&path), b.has(&path));
        }
    }

    #[test]
    fn nothing_that_is_parsed_panics(text in "[fkvi.x]:?[\\[\\]{}\",:0-9a-z]{0,12}") {
        let _ = Element::parse(&text);
    }
}
