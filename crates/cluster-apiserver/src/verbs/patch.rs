//! Patches: JSON patch, merge patch, strategic merge patch. An apply is one by its method only; see [`apply`](super::apply).
//!
//! A patch is laid over the newest object, again if somebody else was faster, unless it names a revision itself.

use serde_json::{Map, Value, json};

use super::write::check_kind;
use super::{Answer, Ask, apply};
use crate::facts;
use crate::field_error::{FieldError, quote};
use crate::http::query::{FieldValidation, WriteOptions};
use crate::negotiate::{decode, json_kind};
use crate::patch::json;
use crate::patch::strategic::{self, PatchError};
use crate::registry::Resource;
use crate::status::{Result, StatusError, top};
use crate::store::ObjectKey;
use crate::strict::{self, DecodeError, Decoded};
use crate::value::{at, go_text, list_at, list_at_mut, object_at, str_at};
use crate::writes::{self, Next};

/// A JSON patch may have so many operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, read.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

const JSON_PATCH: &str = "application/json-patch+json";

impl Patch {
    /// Reads the patch of a request.
    ///
    /// # Errors
    /// 415 for a kind of patch that the resource does not take, 400 for one that cannot be read.
    pub(crate) fn of(ask: &Ask) -> Result<Self> {
        Self::read(ask).map(|(patch, _)| patch)
    }

    /// The patch, and which of its fields stand twice in it.
    fn read(ask: &Ask) -> Result<(Self, Vec<String>)> {
        let is_custom = ask.resource.is_custom() && ask.subresource != "scale";
        let media = decode::media_type(&ask.content_type);
        let bad = |error: &dyn std::fmt::Display| StatusError::bad_request(format!("error decoding patch: {error}"));
        let value = || {
            if ask.body.is_empty() && media != JSON_PATCH {
                return Err(StatusError::bad_request("invalid JSON patch"));
            }
            let parsed = strict::parse_json(&ask.body);
            parsed.map_err(|_| {
                StatusError::bad_request(format!(
                    "error decoding patch: {}",
                    crate::negotiate::json_syntax_error(&ask.body)
                ))
            })
        };
        match media {
            JSON_PATCH => {
                let Decoded { value: operations, mut strict_errors } = value()?;
                strict_errors.extend(unknown_words(&operations));
                let strict_errors = strict_errors.into_iter().map(|error| format!("json patch {error}")).collect();
                // As in Go, nothing is a list without entries.
                let mut operations = if operations.is_null() { json!([]) } else { operations };
                for operation in list_at_mut(&mut operations, &[]) {
                    root_paths(operation);
                    let adds = matches!(str_at(operation, &["op"]), "add" | "replace" | "test");
                    if let Some(fields) = operation.as_object_mut().filter(|_| adds) {
                        fields.entry("value").or_insert(Value::Null);
                    }
                }
                let Some(list) = operations.as_array() else {
                    let of = json_kind(&operations);
                    return Err(bad(&format!(
                        "json: cannot unmarshal {of} into Go value of type []handlers.jsonPatchOp"
                    )));
                };
                if list.len() > MAX_OPERATIONS {
                    let found = list.len();
                    let message =
                        format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {found}");
                    return Err(StatusError::new(413, "RequestEntityTooLarge", message));
                }
                let patch = serde_json::from_value(operations).map_err(|_| StatusError::unprocessable())?;
                Ok((Self::Json(patch), strict_errors))
            }
            "application/merge-patch+json" => {
                let Decoded { value, strict_errors } = value()?;
                Ok((Self::Merge(object_only(value)?), strict_errors))
            }
            "application/strategic-merge-patch+json" if !is_custom => {
                let Decoded { value, strict_errors } = value()?;
                Ok((Self::Strategic(object_only(value)?), strict_errors))
            }
            _ if is_custom => Err(unsupported_custom()),
            _ => Err(StatusError::unsupported_patch()),
        }
    }

    /// Lays the patch over an object.
    ///
    /// # Errors
    /// 422 or 400 if it does not fit.
    pub(crate) fn apply(&self, of: Option<facts::Type>, object: &Value) -> Result<Value> {
        match self {
            Self::Json(patch) => json::apply(object, patch).map_err(|_| StatusError::unprocessable()),
            Self::Merge(patch) => {
                let mut new = object.clone();
                json_patch::merge(&mut new, patch);
                Ok(new)
            }
            Self::Strategic(patch) => {
                let of = of.ok_or_else(StatusError::unsupported_patch)?;
                strategic::apply(of, object, patch).map_err(|error| refuse_strategic(&error))
            }
        }
    }
}

/// Fields of a JSON patch's operations that no operation has.
fn unknown_words(operations: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (index, operation) in list_at(operations, &[]).iter().enumerate() {
        let words = operation.as_object().into_iter().flat_map(Map::keys);
        let unknown = words.filter(|word| !["op", "path", "from", "value"].contains(&word.as_str()));
        found.extend(unknown.map(|word| format!("unknown field {}", quote(&format!("[{index}].{word}")))));
    }
    found
}

/// A path that does not begin at the root loses its first piece, as in kube-apiserver.
fn root_paths(operation: &mut Value) {
    for field in ["path", "from"] {
        if let Some(Value::String(path)) = operation.get_mut(field)
            && let Some(slash) = path.find('/').filter(|slash| *slash > 0)
        {
            path.drain(..slash);
        }
    }
}

/// 415 for a patch that custom resources do not take.
fn unsupported_custom() -> StatusError {
    StatusError::unsupported_media_type(
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )
}

fn refuse_strategic(error: &PatchError) -> StatusError {
    match error {
        PatchError::Malformed(_) => StatusError::bad_request(error.to_string()),
        PatchError::ListOfLists => StatusError::unprocessable(),
        PatchError::Unfit(text) => StatusError::new(500, "", text.as_str()),
    }
}

fn object_only(patch: Value) -> Result<Value> {
    if patch.is_object() {
        return Ok(patch);
    }
    Err(StatusError::bad_request(format!("error decoding patch: {}", crate::negotiate::no_map(&patch))))
}

/// Checks the options of a patch.
pub(crate) fn options(ask: &Ask) -> Result<WriteOptions> {
    let mut errors = Vec::new();
    if is_apply(ask) && ask.query.text("fieldManager").is_empty() {
        errors.push(FieldError::required(&top("fieldManager"), "is required for apply patch"));
    }
    if !is_apply(ask) && ask.query.get("force").is_some() {
        errors.push(FieldError::forbidden(&top("force"), "may not be specified for non-apply patch"));
    }
    WriteOptions::parse_with(&ask.query, "PatchOptions", errors)
}

/// Whether a PATCH is an apply.
pub(crate) fn is_apply(ask: &Ask) -> bool {
    decode::media_type(&ask.content_type) == apply::MEDIA_TYPE
}

pub(crate) async fn patch(ask: &Ask) -> Result<Answer> {
    if is_apply(ask) {
        return apply::apply(ask).await;
    }
    let resource = &ask.resource;
    let media_type = decode::media_type(&ask.content_type);
    match media_type {
        "application/json-patch+json" | "application/merge-patch+json" => {}
        _ if resource.is_custom() => return Err(unsupported_custom()),
        "application/strategic-merge-patch+json" => {}
        _ => return Err(StatusError::unsupported_patch()),
    }
    let options = options(ask)?;
    let (patch, repeated) = match Patch::read(ask) {
        // Nobody reads a patch for nothing.
        Err(refused) if refused.code != 415 && !is_there(ask) => {
            return Err(resource.not_found(&ask.name).with_warnings(&refused.warnings));
        }
        read => read?,
    };
    let of = type_of(resource);
    let mut warnings = Vec::new();
    let written = writes::update(&ask.context(options.is_dry_run), &ask.name, &mut |old| {
        let mut new = patch.apply(of, old)?;
        // Without entries is not without the list, which is what is left of one without entries; but not for custom kinds.
        if !resource.is_custom()
            && at(&new, &["metadata", "managedFields"]).and_then(Value::as_array).is_some_and(Vec::is_empty)
        {
            object_at(&mut new, &["metadata"]).insert("managedFields".to_owned(), json!([{}]));
        }
        if !matches!(patch, Patch::Strategic(_)) {
            check_type(resource, &new)?;
        }
        let decoded = decode::patched(resource, &new).map_err(|error| match &patch {
            Patch::Strategic(patch) => refuse_shown(&go_text(patch), &unstructured_text(&error)),
            Patch::Json(_) | Patch::Merge(_) => refuse_unfit(&new, &error),
        })?;
        warnings.clear();
        let strict_errors: Vec<String> = repeated.iter().chain(&decoded.strict_errors).cloned().collect();
        if !strict_errors.is_empty() {
            match options.field_validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => warnings = strict_errors,
                FieldValidation::Strict => {
                    let shown = if let Patch::Strategic(patch) = &patch { go_text(patch) } else { new.to_string() };
                    return Err(refuse_shown(&shown, &strict::strict_error_text(&strict_errors)));
                }
            }
        }
        if str_at(&decoded.value, &["metadata", "name"]).is_empty() {
            return Err(refuse_nameless(&ask.name));
        }
        Ok(Next::Changed(decoded.value))
    })
    .await?;
    warnings.extend(written.warnings.iter().cloned());
    Ok(Answer { warnings, ..Answer::from(written) })
}

/// The refusal for what has no name and is meant for an object that has one.
pub(super) fn refuse_nameless(name: &str) -> StatusError {
    StatusError::bad_request(format!(
        "the name of the object ({name} based on URL) was undeterminable: name must be provided"
    ))
}

pub(super) fn is_there(ask: &Ask) -> bool {
    ask.core.store.get(&ask.resource.table, &ObjectKey::new(&ask.namespace, &ask.name)).is_some()
}

pub(crate) fn type_of(resource: &Resource) -> Option<facts::Type> {
    if resource.is_custom() { None } else { facts::type_of_kind(&resource.group, &resource.version, &resource.kind) }
}

/// # Errors
/// 400 if the patch made it something else.
fn check_type(resource: &Resource, new: &Value) -> Result<()> {
    for field in ["apiVersion", "kind"] {
        if let Some(value) = new.get(field).filter(|value| !value.is_string() && !value.is_null()) {
            let kind = json_kind(value);
            let why = format!("json: cannot unmarshal {kind} into Go struct field .{field} of type string");
            return Err(refuse_shown(&new.to_string(), &format!("couldn't get version/kind; json parse error: {why}")));
        }
    }
    let (api_version, kind) = (str_at(new, &["apiVersion"]), str_at(new, &["kind"]));
    if resource.is_custom() && kind.is_empty() {
        return Err(refuse_shown(&new.to_string(), &format!("Object 'Kind' is missing in '{new}'")));
    }
    if api_version.matches('/').count() > 1 {
        return Err(refuse_shown(&new.to_string(), &format!("unexpected GroupVersion string: {api_version}")));
    }
    // What it does not say it is by its place.
    let is_said = |text: &str| resource.is_custom() || !text.is_empty();
    let api_version = if is_said(api_version) { api_version } else { &resource.api_version };
    let kind = if is_said(kind) { kind } else { &resource.kind };
    if api_version == resource.api_version && kind == resource.kind {
        return Ok(());
    }
    if resource.is_custom() {
        if api_version == resource.api_version {
            return check_kind(resource, new);
        }
        return Err(StatusError::bad_request(format!(
            "the patched object is {kind} in version {api_version}, which cannot be handled as {} in version {}",
            resource.kind, resource.api_version
        )));
    }
    let (kind, version, scheme) = (quote(kind), quote(api_version), quote("pkg/runtime/scheme.go:111"));
    let why = format!("no kind {kind} is registered for version {version} in scheme {scheme}");
    Err(refuse_shown(&new.to_string(), &why))
}

/// The refusal for a patch whose result is not of its type.
pub(crate) fn refuse_unfit(new: &Value, error: &DecodeError) -> StatusError {
    refuse_shown(&new.to_string(), &error.to_string())
}

fn refuse_shown(shown: &str, why: &str) -> StatusError {
    let message = format!("Invalid value: {}: {why}", quote(shown));
    let error = FieldError { reason: crate::field_error::FieldReason::Invalid, field: "patch".to_owned(), message };
    StatusError::invalid("", "", "", &[error])
}

/// What Go says where it converts a value that is no JSON any more.
pub(super) fn unstructured_text(error: &DecodeError) -> String {
    let text = error.to_string();
    if text.starts_with("illegal base64 data") {
        return format!("error decoding from json: {text}");
    }
    let found = text.strip_prefix("json: cannot unmarshal ").and_then(|rest| {
        let (found, rest) = rest.split_once(" into Go struct field ")?;
        Some((found.to_owned(), rest.rsplit_once(" of type ")?.1.to_owned()))
    });
    let Some((found, wanted)) = found else { return text };
    let found = match found.strip_prefix("number ") {
        Some(number) if number.contains('.') => "float64",
        Some(_) => "int64",
        None if found == "number" => "int64",
        None => &found,
    };
    match wanted.as_str() {
        // Of a text, Go says what it wanted.
        "string" => "unrecognized type: string".to_owned(),
        _ if wanted.starts_with("[]") => format!("cannot restore slice from {found}"),
        _ if wanted.starts_with("map[") => format!("cannot restore map from {found}"),
        _ if wanted.contains('.') => format!("cannot restore struct from: {found}"),
        _ => format!("cannot convert {found} to {wanted}"),
    }
}
