//! What is fuzzed: each target reads one input, and says by a panic that something that must hold does not. Those of the request path stand in
//! [`requests`].
#![expect(clippy::expect_used, reason = "a panic is how a target tells that something does not hold")]

mod requests;

use std::io::Read;

use base_image::compress::Decoder;
use base_image::manifest::Document;
use base_image::tar_stream::{Sequential, TarStream};
use base_image::unpack::{LayersDir, Limits, UnpackOptions};
use base_image::{Digest, ImageConfig, Layer, Reference};
use base_rt::{Shutdown, Tasks};
use cluster_apiserver::selector::{FieldSelector, LabelSelector};
use cluster_apiserver::store::Labels;
use cluster_apiserver::{facts, fuzzing, patch, proto, strict, value};
use serde_json::Value;

/// Reads one input.
pub(crate) type Target = fn(&[u8]);

/// All of them, each with its corpus.
pub(crate) const TARGETS: [(&str, Target); 13] = [
    ("path", path),
    ("json", json),
    ("yaml", yaml),
    ("patch", patches),
    ("fields", fields),
    ("protobuf", protobuf),
    ("selector", selector),
    ("spdy", spdy),
    ("websocket", websocket),
    ("layer", layer),
    ("image", image),
    ("ingress", requests::ingress),
    ("headers", requests::headers),
];

/// What stands between the two parts of an input.
const BETWEEN: &str = "\n---\n";

/// Both parts of an input, as JSON.
fn two_values(input: &[u8]) -> Option<(Value, Value)> {
    let text = std::str::from_utf8(input).ok()?;
    let (one, other) = text.split_once(BETWEEN)?;
    let parse = |text: &str| strict::parse_json(text.as_bytes()).ok().map(|decoded| decoded.value);
    parse(one).zip(parse(other))
}

fn path(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    fuzzing::request_line(path, query);
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        fuzzing::json_path_text(&value, path);
    }
    fuzzing::json_path_text(&Value::Array(vec![Value::Null]), &text);
}

fn json(input: &[u8]) {
    for (group, version, kind) in [("", "v1", "Pod"), ("apps", "v1", "Deployment"), ("", "v1", "ConfigMap")] {
        let of = facts::type_of_kind(group, version, kind).expect("a known kind");
        if let Ok(decoded) = strict::decode_json(of, input) {
            let again = strict::decode_value(of, &decoded.value).expect("what was decoded is of its type");
            assert_eq!(again.value, decoded.value, "decoding changes nothing twice");
        }
    }
    if let Ok(decoded) = strict::decode_custom_json(input) {
        assert!(!value::is_deeper_than(&decoded.value, value::MAX_DEPTH * 100));
    }
    if let Ok(decoded) = strict::parse_json(input) {
        let text = decoded.value.to_string();
        let again = strict::parse_json(text.as_bytes()).expect("what was read can be written and read");
        assert_eq!(again.value, decoded.value);
    }
}

fn yaml(input: &[u8]) {
    let Ok(strict::Decoded { value, .. }) = strict::parse_yaml(input) else { return };
    let text = fuzzing::yaml_text(&value);
    // What is answered is larger than what is taken, by its indentation.
    if let Ok(again) = strict::parse_yaml(text.as_bytes()) {
        assert!(value::semantic_eq(&again.value, &value), "{value} became {} by way of\n{text}", again.value);
    }
}

fn patches(input: &[u8]) {
    let Some((old, patch)) = two_values(input) else { return };
    if let Some(new) = fuzzing::json_patch(&old, &patch) {
        // Reading has another bound than patching, so this is a generous one: what counts is that it is one.
        assert!(!value::is_deeper_than(&new, value::MAX_DEPTH * 100));
    }
    if let (Some(old), Some(patch)) = (old.as_object(), patch.as_object()) {
        // As there, nulls in the items of a list are kept where it takes the place of an object, until it is merged once more.
        let mut merged = old.clone();
        patch::merge::apply(&mut merged, patch);
        patch::merge::apply(&mut merged, patch);
        let twice = merged.clone();
        patch::merge::apply(&mut merged, patch);
        assert_eq!(merged, twice, "merging again changes nothing");
    }
    let of = facts::type_of_kind("apps", "v1", "Deployment").expect("a known kind");
    let _ = patch::strategic::apply(of, &old, &mut patch.clone());
}

fn fields(input: &[u8]) {
    let Some((one, other)) = two_values(input) else { return };
    let written = [&one, &other].map(fuzzing::field_set);
    for set in written.iter().flatten() {
        assert_eq!(fuzzing::field_set(set).as_ref(), Some(set), "writing a set changes nothing twice");
    }
    let (Some(first), Some(_)) = (&written[0], &written[1]) else { return };
    let [union, intersection, difference] = fuzzing::field_sets(&one, &other).expect("both are sets");
    let [whole, ..] = fuzzing::field_sets(&intersection, &difference).expect("both are sets");
    assert_eq!(&whole, first, "what is in both and what is in one are one");
    let [again, ..] = fuzzing::field_sets(&other, &one).expect("both are sets");
    assert_eq!(union, again);
}

fn protobuf(input: &[u8]) {
    let Ok(value) = proto::decode(input) else { return };
    let text = value.to_string();
    serde_json::from_str::<Value>(&text).expect("what was decoded is JSON");
}

fn selector(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let labels = [("app", "web"), ("tier", ""), ("a.b/c", "1")];
    if let Ok(selector) = LabelSelector::parse(&text) {
        selector.matches(&Labels::pack(labels.iter().copied()));
    }
    if let Ok(selector) = FieldSelector::parse(&text, |_| None) {
        selector.name();
    }
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        LabelSelector::of_object(&value);
    }
}

/// Waits for what reads bytes that are all there.
fn wait<F: Future>(work: impl FnOnce(Tasks) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (_handle, shutdown) = Shutdown::new();
        work(Tasks::new(shutdown)).await
    })
}

fn spdy(input: &[u8]) {
    let arrived = wait(async |tasks| fuzzing::spdy(input.to_vec(), &tasks).await);
    assert!(arrived <= input.len());
}

fn websocket(input: &[u8]) {
    for is_tunnel in [false, true] {
        let arrived = wait(async |tasks| fuzzing::websocket(input.to_vec(), is_tunnel, &tasks).await);
        assert!(arrived <= input.len());
    }
}

/// So much may a layer become.
const LAYER_BYTES: u64 = 8 << 20;

fn layer(input: &[u8]) {
    let Ok(decoder) = Decoder::new(input) else { return };
    let mut content = Vec::new();
    let is_whole = decoder.take(LAYER_BYTES).read_to_end(&mut content).is_ok();
    let mut stream = TarStream::new(Sequential(content.as_slice()));
    let mut read = 0;
    while let Ok(Some(entry)) = stream.next_entry() {
        assert!(!entry.path.is_empty() && !entry.path.contains(&0));
        read += std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
    }
    assert!(read <= content.len() as u64);
    if is_whole && rustix::process::geteuid().is_root() {
        unpack(input, &content);
    }
}

/// Unpacks for real, beside something that must not change.
fn unpack(blob: &[u8], content: &[u8]) {
    let scratch = tempfile::tempdir().expect("a folder");
    let outside = scratch.path().join("outside");
    std::fs::write(&outside, "alive").expect("a file");
    let layers = LayersDir::open(&scratch.path().join("layers")).expect("a folder");
    let diff_id = Digest::of(content);
    let layer = Layer { digest: Digest::of(blob), size: blob.len() as u64, diff_id, chain_id: diff_id };
    let limits = Limits { bytes: LAYER_BYTES, entries: 1_000 };
    let unpacked = layers.unpack(&layer, &[], blob, &UnpackOptions { limits, ..UnpackOptions::default() });
    let names: Vec<_> = std::fs::read_dir(scratch.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(std::fs::read(&outside).expect("the file"), b"alive");
    let listed = layers.list().expect("a list").len();
    assert_eq!(listed, usize::from(unpacked.is_ok()));
}

fn image(input: &[u8]) {
    let _ = Document::parse(input, None);
    if let Ok(config) = ImageConfig::parse(input) {
        let written = config.to_json().expect("a configuration can be written");
        assert_eq!(ImageConfig::parse(&written).expect("and read again"), config);
    }
    let text = String::from_utf8_lossy(input);
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().expect("a name"), reference);
    }
}
