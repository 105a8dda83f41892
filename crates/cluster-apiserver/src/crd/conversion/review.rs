//! What is said to a conversion webhook and what it answers: `ConversionReview`, v1 and v1beta1.

use serde_json::{Value, json};

use crate::field_error::{FieldPath, aggregate, quote};
use crate::hooks::ReviewVersion;
use crate::kinds::metadata;
use crate::value::{as_object, at, child_mut, go_type, str_at};

/// The group of the reviews.
const GROUP: &str = "apiextensions.k8s.io";

pub(super) fn request(version: ReviewVersion, uid: &str, desired: &str, objects: &[Value]) -> Value {
    json!({
        "kind": "ConversionReview",
        "apiVersion": version.api_version(GROUP),
        "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects},
    })
}

/// The objects of an answer, each checked against what went out, with its metadata.
///
/// # Errors
/// What follows `conversion webhook for …` in a text.
pub(super) fn converted(
    version: ReviewVersion,
    uid: &str,
    mut answer: Value,
    originals: &[Value],
    desired: &str,
) -> Result<Vec<Value>, String> {
    check(version, uid, &answer).map_err(|why| format!("failed: {why}"))?;
    let objects = match answer.pointer_mut("/response/convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => objects,
        _ => Vec::new(),
    };
    if objects.len() != originals.len() {
        return Err(format!("returned {} objects, expected {}", objects.len(), originals.len()));
    }
    let pairs = originals.iter().zip(objects).enumerate();
    pairs.map(|(index, (original, object))| accept(index, original, object, desired)).collect()
}

fn check(version: ReviewVersion, uid: &str, answer: &Value) -> Result<(), String> {
    let (api_version, kind) = (str_at(answer, &["apiVersion"]), str_at(answer, &["kind"]));
    if version == ReviewVersion::V1 && (api_version, kind) != (version.api_version(GROUP).as_str(), "ConversionReview")
    {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {group}/{version}, Kind={kind}"
        ));
    }
    let Some(response) = at(answer, &["response"]).filter(|response| response.is_object()) else {
        return Err("no response provided".to_owned());
    };
    let given = str_at(response, &["uid"]);
    if version == ReviewVersion::V1 && given != uid {
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(given)));
    }
    let (status, said) = (str_at(response, &["result", "status"]), str_at(response, &["result", "message"]));
    match (status, said) {
        ("Success", _) => Ok(()),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, said) => Err(said.to_owned()),
    }
}

fn accept(index: usize, original: &Value, mut object: Value, desired: &str) -> Result<Value, String> {
    let at_index = |why: &str| format!("returned invalid object at index {index}: {why}");
    let api_version = str_at(&object, &["apiVersion"]);
    if api_version != desired {
        return Err(at_index(&format!("invalid groupVersion (expected {desired}, received {api_version})")));
    }
    let (kind, given) = (str_at(original, &["kind"]), str_at(&object, &["kind"]));
    if given != kind {
        return Err(at_index(&format!("invalid kind (expected {kind}, received {given})")));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (str_at(original, &["metadata", field]), str_at(&object, &["metadata", field]));
        if before != after {
            return Err(format!("returned invalid object: must have the same {name}: {before} != {after}"));
        }
    }
    restore_metadata(original, &mut object).map_err(|why| format!("returned invalid metadata: {why}"))?;
    Ok(object)
}

/// Puts the original's metadata back, but for labels and annotations.
fn restore_metadata(original: &Value, object: &mut Value) -> Result<(), String> {
    let Some(given) = object.get_mut("metadata").map(Value::take) else {
        return Err("missing metadata in converted object".to_owned());
    };
    if !given.is_object() {
        return Err(format!("invalid metadata of type {} in converted object", go_type(&given)));
    }
    let mut restored = at(original, &["metadata"]).cloned().unwrap_or_else(|| json!({}));
    for field in ["labels", "annotations"] {
        match at(&given, &[field]) {
            None => drop(as_object(&mut restored).remove(field)),
            Some(map) => {
                check_map(field, map, &restored[field])?;
                as_object(&mut restored).insert(field.to_owned(), map.clone());
            }
        }
    }
    *child_mut(object, "metadata") = restored;
    Ok(())
}

fn check_map(field: &str, map: &Value, before: &Value) -> Result<(), String> {
    let Some(entries) = map.as_object() else {
        return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(map)));
    };
    if let Some((key, value)) = entries.iter().find(|(_, value)| !value.is_string()) {
        let of = go_type(value);
        return Err(format!("metadata.{field}[{key}] must be a string, but is {of} in converted object"));
    }
    if map == before {
        return Ok(());
    }
    let mut errors = Vec::new();
    let (root, name) = (FieldPath::Root, if field == "labels" { "labels" } else { "annotation" });
    let metadata = root.child("metadata");
    let path = metadata.child(name);
    match field {
        "labels" => metadata::validate_labels(map, &path, &mut errors),
        _ => metadata::validate_annotations(map, &path, &mut errors),
    }
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}
