//! What is said of values, in the words of Kubernetes' OpenAPI validator.

use super::*;
use serde_json::json;

fn errors(schema: Value, object: Value) -> Vec<String> {
    let mut errors = Vec::new();
    validate(&Schema::parse(&schema), &object, None, &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn the_recorded_texts() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["req"], "properties": {
        "req": {"type": "string", "minLength": 2}, "n": {"type": "integer", "maximum": 5}, "e": {"type": "string", "enum": ["a", "b"]},
        "cel": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                 "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
    }}}});
    assert_eq!(
        errors(
            schema.clone(),
            json!({"spec": {"req": "x", "n": 9, "e": "zz", "cel": -1, "list": [{"name": "a"}, {"name": "a"}]}})
        ),
        [
            "spec.e: Unsupported value: \"zz\": supported values: \"a\", \"b\"",
            "spec.n: Invalid value: 9: spec.n in body should be less than or equal to 5",
            "spec.req: Invalid value: \"x\": spec.req in body should be at least 2 chars long",
            "spec.list[1]: Duplicate value: {\"name\":\"a\"}",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
    assert_eq!(errors(schema.clone(), json!({}))[0], "spec: Required value");
    assert_eq!(
        errors(schema, json!({"spec": {"req": "xx", "n": "str"}}))[0],
        "spec.n: Invalid value: \"string\": spec.n in body must be of type integer: \"string\""
    );
}

#[test]
fn bounds_formats_and_branches() {
    let one = |schema: Value, value: Value| {
        errors(json!({"type": "object", "properties": {"v": schema}}), json!({"v": value})).join("; ")
    };
    assert_eq!(
        one(json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}), json!(1)),
        "v: Invalid value: 1: v in body should be greater than 1"
    );
    let count = json!({"type": "integer", "format": "int32", "maximum": 50});
    assert_eq!(
        one(count.clone(), json!(99_999_999_999_u64)),
        "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in v; \
         v: Invalid value: 99999999999: v in body should be less than or equal to 50"
    );
    assert_eq!(
        one(count.clone(), json!(1.5)),
        "v: Invalid value: \"float64\": v in body must be of type int32: \"float64\"; \
         <nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in v"
    );
    assert_eq!(one(count.clone(), json!(true)), "v: Invalid value: \"\": v in body must be of type int32: \"\"");
    assert_eq!(one(count, json!(7.0)), "");
    assert_eq!(
        one(json!({"type": "integer"}), json!(1.5)),
        "v: Invalid value: \"number\": v in body must be of type integer: \"number\"; \
         <nil>: Invalid value: \"\": Checked value must be of type integer (default format) in v"
    );
    assert_eq!(
        one(json!({"type": "string", "enum": ["a"]}), json!(5)),
        "v: Invalid value: \"integer\": v in body must be of type string: \"integer\"; v: Unsupported value: 5: supported values: \"a\""
    );
    assert_eq!(
        one(json!({"type": "string", "maxLength": 1}), json!("ab")),
        "v: Too long: may not be more than 1 bytes".replace("1 bytes", "1 byte")
    );
    assert_eq!(
        one(json!({"type": "string", "pattern": "^a+$"}), json!("b")),
        "v: Invalid value: \"b\": v in body should match '^a+$'"
    );
    assert_eq!(one(json!({"type": "array", "maxItems": 1}), json!([1, 2])), "v: Too many: 2: must have at most 1 item");
    assert_eq!(
        one(json!({"type": "string", "format": "ipv4"}), json!("x")),
        "v: Invalid value: \"x\": v in body must be of type ipv4: \"x\""
    );
    assert_eq!(
        one(json!({"x-kubernetes-int-or-string": true}), json!(true)),
        "v: Invalid value: \"boolean\": v in body must be of type integer,string: \"boolean\""
    );
    assert_eq!(
        one(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!("5")
        ),
        ""
    );
    assert_eq!(
        one(json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), json!({"a": 1})),
        ""
    );
    assert_eq!(
        one(json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), json!({"a": 1, "b": 1})),
        "v: Invalid value: \"\": \"v\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
    );
    assert_eq!(
        one(json!({"not": {"required": ["a"]}}), json!({"a": 1})),
        "v: Invalid value: \"\": \"v\" must not validate the schema (not)"
    );
    assert_eq!(one(json!({"type": "string", "nullable": true}), json!(null)), "");
    assert_eq!(
        one(json!({"type": "string"}), json!(null)),
        "v: Invalid value: \"null\": v in body must be of type string: \"null\""
    );
    assert_eq!(
        one(json!({"type": "array", "x-kubernetes-list-type": "set"}), json!(["a", "b", "a"])),
        "v[2]: Duplicate value: \"a\""
    );
    assert_eq!(one(json!({"type": "string", "pattern": "("}), json!("b")), "");
}

#[test]
fn integers_of_a_format_are_checked_twice() {
    let of = |schema: Value, value: Value| {
        errors(json!({"type": "object", "properties": {"v": schema}}), json!({"v": value}))
    };
    let int32 = json!({"type": "integer", "format": "int32", "maximum": 50});
    let range = "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in v";
    assert_eq!(
        of(int32.clone(), json!(1.5)),
        ["v: Invalid value: \"float64\": v in body must be of type int32: \"float64\"", range]
    );
    assert_eq!(
        of(int32.clone(), json!(99_999_999_999_u64)),
        [range, "v: Invalid value: 99999999999: v in body should be less than or equal to 50"]
    );
    assert_eq!(of(int32, json!(true)), ["v: Invalid value: \"\": v in body must be of type int32: \"\""]);
    assert_eq!(
        of(json!({"type": "integer"}), json!(1e300))[0],
        "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in v"
    );
    assert_eq!(
        of(json!({"type": "string", "enum": ["a"]}), json!(5)),
        [
            "v: Invalid value: \"integer\": v in body must be of type string: \"integer\"",
            "v: Unsupported value: 5: supported values: \"a\"",
        ]
    );
}
