//! Bodies marshalled by Kubernetes' own Go types, and bodies that nobody should send.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

fn vectors() -> Vec<(Vec<u8>, Value)> {
    include_str!("../../testdata/proto.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("a row");
            let body = STANDARD.decode(row["proto"].as_str().expect("bytes")).expect("base64");
            (body, row["value"].clone())
        })
        .collect()
}

#[test]
fn bodies_of_go_clients_are_read() {
    let vectors = vectors();
    assert!(vectors.len() > 60, "{} rows", vectors.len());
    for (body, want) in &vectors {
        assert_eq!(&decode(body).expect("a body"), want);
    }
}

#[test]
fn every_prefix_and_every_flipped_byte_is_answered() {
    for (body, _) in vectors() {
        for end in 0..body.len() {
            let _ = decode(&body[..end]);
        }
        for at in 0..body.len() {
            let mut broken = body.clone();
            broken[at] ^= 0xff;
            let _ = decode(&broken);
        }
    }
}

#[test]
fn the_options_of_a_delete_are_found_by_kind() {
    // runtime.Unknown{typeMeta{apiVersion: "serving.knative.dev/v1", kind: "DeleteOptions"}, raw: {5: "Background"}}.
    let mut type_meta = vec![0x0a, 22];
    type_meta.extend(b"serving.knative.dev/v1");
    type_meta.extend([0x12, 13]);
    type_meta.extend(b"DeleteOptions");
    let mut raw = vec![0x22, 10];
    raw.extend(b"Background");
    let mut body = MAGIC.to_vec();
    body.extend([0x0a, u8::try_from(type_meta.len()).expect("short")]);
    body.extend(&type_meta);
    body.extend([0x12, u8::try_from(raw.len()).expect("short")]);
    body.extend(&raw);
    let options = decode(&body).expect("options");
    assert_eq!(options["propagationPolicy"], "Background");
    assert_eq!(options["apiVersion"], "serving.knative.dev/v1");
}

#[test]
fn refusals_say_what_is_wrong() {
    assert_eq!(decode(b"{}"), Err(ProtoError::NoMagic));
    let mut unknown = MAGIC.to_vec();
    unknown.extend([0x0a, 8, 0x0a, 2, b'v', b'1', 0x12, 2, b'N', b'o']);
    let error = decode(&unknown).expect_err("no kind");
    assert_eq!(error.to_string(), r#"no kind "No" is registered for version "v1""#);
    let of = facts::type_of_kind("", "v1", "ConfigMap").expect("ConfigMap");
    assert!(matches!(message::decode(of, &[0x0a, 5, 1]), Err(ProtoError::Truncated { .. })));
    assert!(matches!(message::decode(of, &[0x08, 1]), Err(ProtoError::WireType { field: "metadata", .. })));
    assert!(matches!(message::decode(of, &[0xff; 11]), Err(ProtoError::Malformed { .. })));
}

#[test]
fn nesting_is_bounded() {
    let of = facts::type_of_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("CRD");
    let schema = facts::type_named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    let not = schema.and_then(|of| of.field("not")).expect("not").number();
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..300 {
        let mut outer = varint(u64::from(not) << 3 | 2);
        outer.extend(varint(bytes.len() as u64));
        outer.extend(bytes);
        bytes = outer;
    }
    assert!(matches!(message::decode(schema.expect("schema"), &bytes), Err(ProtoError::TooDeep { .. })));
    assert!(message::decode(of, &[]).is_ok());
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}
