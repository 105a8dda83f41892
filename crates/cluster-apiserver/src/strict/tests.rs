//! Bodies as kube-apiserver reads them; the texts are those of a recorded server and of Go's decoder.

use serde_json::json;

use super::*;
use crate::facts::type_of_kind;

fn decode(body: &str) -> Result<Decoded, DecodeError> {
    let value: Value = serde_json::from_str(body).expect("a body");
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let of = type_of_kind(group, version, value["kind"].as_str().unwrap_or_default()).expect("a kind");
    decode_json(of, body.as_bytes())
}

#[test]
fn bodies_are_read_as_go_reads_them() {
    // Each line: a body, then what the Go types make of it: the strict error, the error, the canonical form.
    let mut rows = 0;
    for line in include_str!("../../testdata/decode.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        let body = row["body"].as_str().expect("a body");
        match decode(body) {
            Ok(decoded) => {
                assert_eq!(row["error"], Value::Null, "{body}");
                assert_eq!(decoded.value, row["value"], "{body}");
                let strict = (!decoded.strict_errors.is_empty()).then(|| strict_error_text(&decoded.strict_errors));
                assert_eq!(strict.map_or(Value::Null, Value::from), row["strict"], "{body}");
            }
            Err(error) => assert_eq!(Value::from(error.to_string()), row["error"], "{body}"),
        }
        rows += 1;
    }
    assert!(rows > 60, "{rows} rows");
}

#[test]
fn a_canonical_value_stays_as_it_is() {
    let body = include_str!("../../testdata/decode.jsonl");
    for line in body.lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        let Ok(decoded) = decode(row["body"].as_str().expect("a body")) else { continue };
        let api_version = decoded.value["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let of = type_of_kind(group, version, decoded.value["kind"].as_str().unwrap_or_default()).expect("a kind");
        let again = decode_value(of, &decoded.value).expect("a canonical value");
        assert_eq!(again, Decoded { value: decoded.value, strict_errors: Vec::new() });
    }
}

#[test]
fn yaml_reads_like_json() {
    let of = type_of_kind("", "v1", "ConfigMap").expect("ConfigMap");
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, nme: y}\ndata:\n  a: '1'\n";
    let decoded = decode_value(of, &parse_yaml(body).expect("YAML").value).expect("ConfigMap");
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}})
    );
    assert_eq!(decoded.strict_errors, [r#"unknown field "metadata.nme""#]);
    assert!(matches!(parse_yaml(b"a: [b"), Err(DecodeError::Syntax(_))));
    let twice = parse_yaml(b"b: 0\na: 1\na: 2").expect("YAML");
    assert_eq!(twice.value, json!({"a": 2, "b": 0}));
    assert_eq!(twice.strict_errors, ["yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"]);
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(matches!(parse_yaml(deep.as_bytes()), Err(DecodeError::Syntax(_))));
}

#[test]
fn custom_objects_keep_everything_but_metadata() {
    let body =
        br#"{"kind":"Foo","metadata":{"name":"x","creationTimestamp":null,"bad":1},"spec":{"a":null,"b":1.5,"b":2}}"#;
    let decoded = decode_custom_json(body).expect("a custom object");
    assert_eq!(decoded.value, json!({"kind": "Foo", "metadata": {"name": "x"}, "spec": {"a": null, "b": 2}}));
    assert_eq!(decoded.strict_errors, [r#"unknown field "metadata.bad""#, r#"duplicate field "spec.b""#]);
    let wrong = decode_custom_json(br#"{"metadata":{"labels":{"a":1}}}"#).expect_err("a number");
    assert_eq!(
        wrong.to_string(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
    );
}

#[test]
fn broken_and_deep_bodies_are_refused() {
    let of = type_of_kind("", "v1", "ConfigMap").expect("ConfigMap");
    for body in ["", "{", "{}x", "[", "{\"a\":}", "nul"] {
        assert!(matches!(decode_json(of, body.as_bytes()), Err(DecodeError::Syntax(_))), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(parse_json(deep.as_bytes()), Err(DecodeError::Syntax(_))));
    assert!(matches!(decode_json(of, b"[]"), Err(DecodeError::Type(_))));
    let many = format!("[{}0]", "0,".repeat(600_000));
    assert!(parse_json(many.as_bytes()).expect_err("many").to_string().contains("more than 200000 values"));
}

#[test]
fn what_reads_itself_ends_the_reading() {
    let body = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"leaseDurationSeconds":1.5,"renewTime":"2026-01-02T03:04:05.1Z","holderIdentity":5}}"#;
    let why = decode(body).expect_err("a wrong time");
    assert_eq!(
        why.to_string(),
        "parsing time \"2026-01-02T03:04:05.1Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \".1Z\" as \".000000\""
    );
}

#[test]
fn the_results_of_patches_are_told_in_other_words() {
    let of = type_of_kind("apps", "v1", "Deployment").expect("a kind");
    for (value, wanted) in [
        (json!({"spec": {"replicas": "3"}}), "unrecognized type: int32"),
        (json!({"spec": {"replicas": 1.5}}), "cannot convert float64 to int32"),
        (json!({"spec": {"replicas": {}}}), "unrecognized type: int32"),
        (json!({"spec": {"paused": 1}}), "unrecognized type: bool"),
        (json!({"spec": {"strategy": {"type": 1}}}), "cannot convert int64 to v1.DeploymentStrategyType"),
        (json!({"spec": {"strategy": {"type": true}}}), "unrecognized type: string"),
        (json!({"spec": {"strategy": "x"}}), "cannot restore struct from: string"),
        (json!({"spec": {"template": {"spec": {"containers": {}}}}}), "cannot restore slice from map"),
        (json!({"metadata": {"labels": []}}), "cannot restore map from slice"),
        (json!({"metadata": {"creationTimestamp": 5}}), "json: cannot unmarshal number into Go value of type string"),
    ] {
        assert_eq!(convert_value(of, &value).expect_err("a value that does not fit").to_string(), wanted, "{value}");
    }
    let unknown = json!({"spec": {"x": 1}, "metadata": {"y": 1}, "a": 1});
    let found = convert_value(of, &unknown).expect("a Deployment").strict_errors;
    assert_eq!(found, ["\"a\"", "\"metadata.y\"", "\"spec.x\""].map(|name| format!("unknown field {name}")));
}
