//! What is said of schemas, in Kubernetes' words.

use super::*;
use serde_json::json;

fn errors(schema: Value) -> Vec<String> {
    let mut errors = Vec::new();
    structural_errors(&schema, &FieldPath::Root.child("schema"), &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

/// What is said of a field's schema.
fn of_field(field: Value) -> Vec<String> {
    let errors = errors(json!({"type": "object", "properties": {"a": field}}));
    errors.iter().map(|error| error.replace("schema.properties[a]", "A")).collect()
}

#[test]
fn every_node_needs_a_type() {
    assert!(
        errors(json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}))
            .is_empty()
    );
    assert_eq!(
        errors(json!({"type": "string"})),
        ["schema.type: Invalid value: \"string\": must be object at the root"]
    );
    let schema =
        json!({"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "array", "items": {}}}});
    assert_eq!(
        errors(schema),
        [
            "schema.properties[a].type: Required value: must not be empty for specified object fields",
            "schema.properties[b].items: Required value: must be specified",
            "schema.properties[c].items.type: Required value: must not be empty for specified array items",
        ]
    );
    let mut deep = json!({"type": "object"});
    for _ in 0..100 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert!(errors(deep)[0].contains("nested too deeply"));
}

#[test]
fn a_default_must_be_valid_and_pruned() {
    assert_eq!(
        of_field(json!({"type": "integer", "maximum": 1, "default": 5})),
        ["A.default: Invalid value: 5: A.default in body should be less than or equal to 1"]
    );
    assert_eq!(
        of_field(json!({"type": "object", "properties": {"x": {"type": "string"}}, "default": {"x": "a", "y": 1}})),
        ["A.default: Invalid value: {\"x\":\"a\",\"y\":1}: must not have unknown fields"]
    );
    assert_eq!(
        of_field(json!({"type": "object", "properties": {"x": {"type": "string"}}, "default": {"x": 1}})),
        ["A.default.x: Invalid value: \"integer\": A.default.x in body must be of type string: \"integer\""]
    );
    assert_eq!(
        of_field(json!({"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}]})),
        ["A.default: Invalid value: 1: failed rule: self > 1"]
    );
    assert_eq!(
        errors(json!({"type": "object", "properties": {"kind": {"type": "string", "default": "X"}}})),
        ["schema.properties[kind].default: Forbidden: must not be set in top-level kind"]
    );
}

#[test]
fn junctors_only_restrict() {
    assert_eq!(
        of_field(
            json!({"type": "object", "anyOf": [{"type": "string", "description": "d"}], "not": {"nullable": true}})
        ),
        [
            "A.anyOf[0].description: Forbidden: must be empty to be structural",
            "A.anyOf[0].type: Forbidden: must be empty to be structural",
            "A.not.nullable: Forbidden: must be false to be structural",
        ]
    );
    assert_eq!(
        of_field(json!({"type": "object", "oneOf": [{"properties": {"x": {"minimum": 1}}}]})),
        ["A.properties[x]: Required value: because it is defined in A.oneOf[0].properties[x]"]
    );
    let int_or_string = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    assert!(of_field(int_or_string).is_empty());
    assert!(of_field(json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"minimum": 1}]})).is_empty());
    assert!(
        of_field(json!({"type": "string", "pattern": "("}))[0]
            .starts_with("A.pattern: Invalid value: \"(\": must be a valid regular expression")
    );
}

#[test]
fn embedded_resources_and_metadata() {
    assert_eq!(
        of_field(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
        [
            "A.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        ]
    );
    assert_eq!(
        of_field(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
        [
            "A.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"
        ]
    );
    assert_eq!(
        errors(
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}})
        ),
        [
            "schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
        ]
    );
    assert!(errors(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}})).is_empty());
    assert_eq!(
        errors(json!({"type": "object", "nullable": true})),
        ["schema.nullable: Forbidden: nullable cannot be true at the root"]
    );
    assert_eq!(
        errors(json!({"type": "object", "additionalProperties": true})),
        ["schema.additionalProperties: Forbidden: must not be used at the root"]
    );
}

#[test]
fn keywords_that_do_not_fit() {
    let one = |field: Value| of_field(field).join("; ");
    assert_eq!(
        one(
            json!({"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}})
        ),
        "A.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
    );
    assert_eq!(one(json!({"type": "string", "$ref": "#/x"})), "A.$ref: Forbidden: $ref is not supported");
    assert_eq!(
        one(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
        "A.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
    );
    assert_eq!(
        one(json!({"type": "strin"})),
        "A.type: Unsupported value: \"strin\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\""
    );
    assert_eq!(
        one(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"})),
        "A.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map; \
         A.items.type: Invalid value: \"string\": must be object if parent array's x-kubernetes-list-type is map"
    );
    let keyed = |keys: Value, items: Value| {
        one(
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": items}),
        )
    };
    assert_eq!(
        keyed(json!(["n", "n"]), json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}})),
        "A.x-kubernetes-list-map-keys: Invalid value: [\"n\",\"n\"]: must not contain duplicate entries"
    );
    assert_eq!(
        keyed(json!(["n"]), json!({"type": "object", "properties": {"n": {"type": "string"}}})),
        "A.items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
    );
    assert_eq!(
        keyed(json!(["z"]), json!({"type": "object", "properties": {"n": {"type": "string"}}})),
        "A.x-kubernetes-list-map-keys: Invalid value: [\"z\"]: entries must all be names of item properties"
    );
    assert_eq!(
        one(
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {"n": {"type": "string"}}}})
        ),
        "A.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
    );
    assert_eq!(
        one(json!({"type": "string", "x-kubernetes-map-type": "atomic"})),
        "A.type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified"
    );
}

#[test]
fn rules_must_make_sense() {
    let one = |rule: Value| {
        of_field(
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": [rule]}),
        )
        .join("; ")
    };
    assert_eq!(one(json!({"rule": "self.n > 1"})), "");
    assert_eq!(
        one(json!({"rule": "self.m > 1"})),
        "A.x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self.m \\u003e 1\"}: compilation failed: ERROR: <input>:1:5: undefined field 'm'\n | self.m > 1\n | ....^"
    );
    assert_eq!(
        one(json!({"rule": "self.n"})),
        "A.x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self.n\"}: cel expression must evaluate to a bool"
    );
    assert_eq!(one(json!({"rule": " "})), "A.x-kubernetes-validations[0].rule: Required value: rule is not specified");
    assert_eq!(
        one(json!({"rule": "self.n >\n1"})),
        "A.x-kubernetes-validations[0].message: Required value: message must be specified if rule contains line breaks"
    );
    assert_eq!(
        one(json!({"rule": "true", "reason": "Odd", "fieldPath": ".x"})),
        "A.x-kubernetes-validations[0].reason: Unsupported value: \"Odd\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"; \
         A.x-kubernetes-validations[0].fieldPath: Invalid value: \".x\": must be a valid path"
    );
    assert_eq!(
        one(json!({"rule": "true", "messageExpression": "1"})),
        "A.x-kubernetes-validations[0].messageExpression: Invalid value: {\"messageExpression\":\"1\",\"rule\":\"true\"}: messageExpression must evaluate to a string"
    );
    assert_eq!(
        one(json!({"rule": "true", "optionalOldSelf": true})),
        "A.x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
    );
    let item = json!({"type": "string", "maxLength": 9, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    assert_eq!(
        of_field(json!({"type": "array", "maxItems": 9, "items": item})),
        [
            "A.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within A"
        ]
    );
}

#[test]
fn rules_that_cost_too_much() {
    let nested = |limit: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 20}});
        if let Some(limit) = limit.as_u64() {
            list["maxItems"] = json!(limit);
        }
        of_field(
            json!({"type": "object", "properties": {"l": list}, "x-kubernetes-validations": [{"rule": "self.l.all(x, self.l.exists_one(y, x == y))"}]}),
        )
    };
    assert_eq!(
        nested(json!(null)),
        [
            "A.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
            "A.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            "schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
        ]
    );
    assert!(nested(json!(100)).is_empty());
    let one_loop = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(x, x != 'a')"}]});
    assert!(of_field(one_loop).is_empty());
}
