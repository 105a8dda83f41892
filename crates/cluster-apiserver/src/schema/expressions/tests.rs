//! What rules say of objects, in Kubernetes' words.

use super::*;
use crate::schema::validate;
use serde_json::json;

fn found(spec: Value, new: Value, old: Option<Value>) -> (Vec<String>, Vec<String>) {
    let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": spec}}));
    let (mut errors, whole) = (Vec::new(), |spec: Value| json!({"spec": spec}));
    let warnings = validate(&schema, &whole(new), old.map(whole).as_ref(), &mut errors);
    (errors.iter().map(ToString::to_string).collect(), warnings)
}

fn errors(spec: Value, new: Value, old: Option<Value>) -> String {
    found(spec, new, old).0.join("; ")
}

#[test]
fn texts_of_rules_that_fail() {
    let one = |rule: Value, value: Value| {
        let spec = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "x-kubernetes-validations": [rule]});
        errors(spec, value, None)
    };
    assert_eq!(one(json!({"rule": "self.a > 1"}), json!({"a": 1})), "spec: Invalid value: failed rule: self.a > 1");
    assert_eq!(
        one(json!({"rule": "self.a > 1", "message": "too small"}), json!({"a": 1})),
        "spec: Invalid value: too small"
    );
    assert_eq!(
        one(json!({"rule": "self.a > 1", "messageExpression": "'a is ' + string(self.a)"}), json!({"a": 1})),
        "spec: Invalid value: a is 1"
    );
    assert_eq!(
        one(
            json!({"rule": "self.a > 1", "message": "m", "messageExpression": "self.b", "fieldPath": ".a", "reason": "FieldValueForbidden"}),
            json!({"a": 1})
        ),
        "spec.a: Forbidden: m"
    );
    assert_eq!(
        one(json!({"rule": "self.a > 1", "reason": "FieldValueRequired", "message": "more"}), json!({"a": 1})),
        "spec: Required value: more"
    );
    assert_eq!(
        one(json!({"rule": "self.a > 1"}), json!({})),
        "spec: Invalid value: \"object\": no such key: a evaluating rule: self.a > 1"
    );
    assert_eq!(one(json!({"rule": "self.a > 1"}), json!({"a": 2})), "");
    assert_eq!(
        errors(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]}), json!(0), None),
        "spec: Invalid value: 0: failed rule: self > 1"
    );
}

#[test]
fn rules_stand_anywhere() {
    let rule = json!([{"rule": "self != 'bad'"}]);
    let text = json!({"type": "string", "x-kubernetes-validations": rule});
    let spec = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": text}, "map": {"type": "object", "additionalProperties": text},
    }});
    assert_eq!(
        errors(spec, json!({"list": ["ok", "bad"], "map": {"k": "bad"}}), None),
        "spec.list[1]: Invalid value: \"bad\": failed rule: self != 'bad'; \
         spec.map[k]: Invalid value: \"bad\": failed rule: self != 'bad'"
    );
}

#[test]
fn transitions_compare_with_what_was() {
    let immutable =
        json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]});
    let spec = json!({"type": "object", "properties": {
        "a": immutable,
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                 "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": immutable}}},
        "once": {"type": "string", "x-kubernetes-validations": [{"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": true}]},
    }});
    assert_eq!(errors(spec.clone(), json!({"a": "x"}), None), "");
    assert_eq!(errors(spec.clone(), json!({"a": "x"}), Some(json!({"a": "x"}))), "");
    assert_eq!(
        errors(spec.clone(), json!({"a": "y"}), Some(json!({"a": "x"}))),
        "spec.a: Invalid value: \"y\": immutable"
    );
    let old = json!({"list": [{"n": "p", "v": "1"}, {"n": "q", "v": "2"}], "once": "o"});
    assert_eq!(
        errors(
            spec.clone(),
            json!({"list": [{"n": "q", "v": "3"}, {"n": "new", "v": "4"}], "once": "o"}),
            Some(old.clone())
        ),
        "spec.list[0].v: Invalid value: \"3\": immutable"
    );
    assert_eq!(
        errors(spec, json!({"once": "p"}), Some(old)),
        "spec.once: Invalid value: \"p\": failed rule: !oldSelf.hasValue() || self == oldSelf.value()"
    );
}

#[test]
fn a_long_list_is_looked_through_once() {
    let immutable = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let spec = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
        "items": {"type": "object", "properties": {"n": {"type": "integer"}, "v": immutable}}});
    let list = |changed: usize| -> Value {
        (0..40_000).map(|n| json!({"n": n, "v": if n == changed { 1 } else { 0 }})).collect()
    };
    assert_eq!(
        errors(spec, list(39_999), Some(list(0))),
        "spec[0].v: Invalid value: 0: failed rule: self == oldSelf; spec[39999].v: Invalid value: 1: failed rule: self == oldSelf"
    );
}

#[test]
fn what_stays_as_it_was_is_let_through() {
    let spec = json!({"type": "object", "properties": {
        "a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]}, "b": {"type": "integer", "maximum": 5},
    }});
    let old = json!({"a": "bad", "b": 9});
    assert_eq!(
        found(spec.clone(), json!({"a": "bad", "b": 9, "c": 1}), Some(old.clone())),
        (Vec::new(), vec!["spec.a: Invalid value: \"bad\": failed rule: self != 'bad'".to_owned()])
    );
    assert_eq!(
        errors(spec, json!({"a": "bad", "b": 8}), Some(old)),
        "spec.b: Invalid value: 8: spec.b in body should be less than or equal to 5"
    );
}

#[test]
fn paths_through_a_schema() {
    let schema = Schema::parse(&json!({"type": "object", "properties": {
        "a": {"type": "object", "additionalProperties": {"type": "string"}}, "b.c": {"type": "string"},
    }}));
    let text = |path: &str| field_path(&schema, path).map(|(text, _)| text);
    assert_eq!(text(".a['x.y']"), Ok("a[x.y]".to_owned()));
    assert_eq!(text("['b.c']"), Ok("b.c".to_owned()));
    assert_eq!(text(".nope"), Err("does not refer to a valid field".to_owned()));
    assert_eq!(text("a"), Err("expected [ or . but got: a".to_owned()));
    assert_eq!(text(".a[0]"), Err("expected single quoted string but got 0".to_owned()));
}
