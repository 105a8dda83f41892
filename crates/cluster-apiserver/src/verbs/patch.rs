//! Patches: JSON patch, merge patch, strategic merge patch. An apply is one by its method only; see [`apply`](super::apply).
//!
//! A patch is laid over the newest object, again if somebody else was faster, unless it names a revision itself.

use serde_json::{Map, Value, json};

use super::write::check_kind;
use super::{Answer, Ask, apply};
use crate::facts;
use crate::field_error::{FieldError, quote};
use crate::http::query::{FieldValidation, WriteOptions};
use crate::negotiate::{decode, json_kind, no_map, no_type_meta};
use crate::patch::json::{self, Operations};
use crate::patch::merge;
use crate::patch::strategic::{self, PatchError};
use crate::registry::Resource;
use crate::status::{Result, StatusError, top};
use crate::store::ObjectKey;
use crate::strict::{self, Decoded};
use crate::value::{at, go_text, list_at, object_at, str_at};
use crate::writes::{self, Next};

/// A JSON patch may have so many operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, read.
pub(crate) enum Patch {
    Json(Operations),
    Merge(Value),
    Strategic(Value),
}

/// What a patch made of an object.
pub(crate) struct Patched {
    pub(crate) object: Value,
    /// What is left of a strategic merge patch, which is shown instead of an object that does not fit.
    left: Option<Value>,
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

impl Patch {
    /// Reads the patch of a request, and which of its fields stand twice in it or are unknown.
    ///
    /// # Errors
    /// 404 for an object that is not there, as nobody reads a patch for nothing; 400 for a patch that is none, even then if it is no JSON.
    pub(crate) fn of(ask: &Ask, validation: FieldValidation) -> Result<(Self, Vec<String>)> {
        let parsed = strict::parse_json(&ask.body).map_err(|_| StatusError::bad_request("invalid JSON patch"))?;
        match Self::read(decode::media_type(&ask.content_type), parsed, validation) {
            Err(_) if !is_there(ask) => Err(ask.resource.not_found(&ask.name)),
            read => read,
        }
    }

    fn read(media_type: &str, parsed: Decoded, validation: FieldValidation) -> Result<(Self, Vec<String>)> {
        let Decoded { value, mut strict_errors } = parsed;
        // Who wants to know of unknown fields has it read once more before, in other words.
        let is_checked = validation != FieldValidation::Ignore;
        let undecodable = |why: String| StatusError::bad_request(format!("error decoding patch: {why}"));
        let is_map = value.is_object() || value.is_null();
        match media_type {
            JSON_PATCH => {
                if is_checked {
                    check_operations(&value).map_err(undecodable)?;
                    strict_errors.extend(unknown_words(&value));
                    strict_errors.iter_mut().for_each(|error| error.insert_str(0, "json patch "));
                }
                let operations = Operations::of(value).map_err(StatusError::bad_request)?;
                if operations.len() > MAX_OPERATIONS {
                    let found = operations.len();
                    let message =
                        format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {found}");
                    return Err(StatusError::new(413, "RequestEntityTooLarge", message));
                }
                Ok((Self::Json(operations), strict_errors))
            }
            MERGE_PATCH if is_checked && !is_map => Err(undecodable(no_map(&value))),
            // A list takes the place of the object, which it does not fit.
            MERGE_PATCH if value.is_object() || value.is_array() => Ok((Self::Merge(value), strict_errors)),
            MERGE_PATCH => Err(StatusError::bad_request("Invalid JSON Patch")),
            _ if !is_map => Err(StatusError::bad_request(no_map(&value))),
            _ => Ok((Self::Strategic(if value.is_null() { json!({}) } else { value }), strict_errors)),
        }
    }

    /// Lays the patch over an object.
    ///
    /// # Errors
    /// 422 or 400 if it does not fit.
    pub(crate) fn apply(&self, of: Option<facts::Type>, object: &Value) -> Result<Patched> {
        match self {
            Self::Json(patch) => {
                json::apply(object, patch).map(Patched::of_json).map_err(|_| StatusError::unprocessable())
            }
            Self::Merge(patch) => {
                let mut new = object.clone();
                match (&mut new, patch) {
                    (Value::Object(new), Value::Object(patch)) => merge::apply(new, patch),
                    (new, patch) => *new = merge::without_nulls(patch.clone()),
                }
                Ok(Patched::of_json(new))
            }
            Self::Strategic(patch) => {
                let of = of.ok_or_else(StatusError::unsupported_patch)?;
                let mut patch = patch.clone();
                let object = strategic::apply(of, object, &mut patch).map_err(|error| refuse_strategic(&error))?;
                Ok(Patched { object, left: Some(patch) })
            }
        }
    }
}

impl Patched {
    /// An object that is shown as it is.
    pub(crate) fn of_json(object: Value) -> Self {
        Self { object, left: None }
    }

    fn shown(&self) -> String {
        self.left.as_ref().map_or_else(|| shown_json(&self.object), go_text)
    }

    /// What the patch made, as an object of its type.
    ///
    /// # Errors
    /// 422 if it is none.
    pub(crate) fn typed(&self, of: facts::Type) -> Result<Decoded> {
        let read = if self.left.is_some() { strict::convert_value } else { strict::decode_value };
        read(of, &self.object).map_err(|error| self.refuse(&error.to_string()))
    }

    fn refuse(&self, why: &str) -> StatusError {
        refuse_shown(&self.shown(), why)
    }
}

/// # Errors
/// What Go says of JSON that is no list of operations.
fn check_operations(patch: &Value) -> std::result::Result<(), String> {
    let refuse = |value: &Value, what: &str| Err(format!("json: cannot unmarshal {} into Go {what}", json_kind(value)));
    let items = match patch {
        Value::Null => return Ok(()),
        Value::Array(items) => items,
        other => return refuse(other, "value of type []handlers.jsonPatchOp"),
    };
    for item in items {
        if !item.is_object() && !item.is_null() {
            return refuse(item, "value of type handlers.jsonPatchOp");
        }
        for name in ["op", "path", "from"] {
            if let Some(value) = item.get(name).filter(|value| !value.is_string() && !value.is_null()) {
                return refuse(value, &format!("struct field jsonPatchOp.{name} of type string"));
            }
        }
    }
    Ok(())
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

/// Checks the kind and the options of a patch.
///
/// # Errors
/// 415 for a kind of patch that the resource does not take, 422 for other options than there are.
pub(crate) fn options(ask: &Ask) -> Result<WriteOptions> {
    match decode::media_type(&ask.content_type) {
        apply::MEDIA_TYPE | JSON_PATCH | MERGE_PATCH => {}
        _ if ask.resource.is_custom() => return Err(unsupported_custom()),
        STRATEGIC_PATCH => {}
        _ => return Err(StatusError::unsupported_patch()),
    }
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
    let options = options(ask)?;
    let (patch, repeated) = Patch::of(ask, options.field_validation)?;
    let of = type_of(resource);
    let mut warnings = Vec::new();
    let written = writes::update(&ask.context(options.is_dry_run), &ask.name, &mut |old| {
        let mut patched = patch.apply(of, old)?;
        // Without entries is not without the list, which is what is left of one without entries; but not for custom kinds.
        if !resource.is_custom()
            && at(&patched.object, &["metadata", "managedFields"]).and_then(Value::as_array).is_some_and(Vec::is_empty)
        {
            object_at(&mut patched.object, &["metadata"]).insert("managedFields".to_owned(), json!([{}]));
        }
        if patched.left.is_none() {
            check_type(resource, &patched)?;
        }
        let decoded = match of {
            Some(of) => patched.typed(of)?,
            None => decode::patched(resource, &patched.object).map_err(|error| patched.refuse(&error.to_string()))?,
        };
        warnings.clear();
        let strict_errors: Vec<String> = repeated.iter().chain(&decoded.strict_errors).cloned().collect();
        if !strict_errors.is_empty() {
            match options.field_validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => warnings = strict_errors,
                FieldValidation::Strict => return Err(patched.refuse(&strict::strict_error_text(&strict_errors))),
            }
        }
        if str_at(&decoded.value, &["metadata", "name"]).is_empty() {
            return Err(refuse_nameless(&ask.name));
        }
        Ok(Next::Changed(decoded.value))
    })
    .await;
    let written = written.map_err(|refused| refused.with_warnings(&warnings))?;
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
fn check_type(resource: &Resource, patched: &Patched) -> Result<()> {
    let new = &patched.object;
    if !new.is_object() {
        return Err(
            patched.refuse(&format!("couldn't get version/kind; json parse error: {}", no_type_meta(json_kind(new))))
        );
    }
    for field in ["apiVersion", "kind"] {
        if let Some(value) = new.get(field).filter(|value| !value.is_string() && !value.is_null()) {
            let kind = json_kind(value);
            let why = format!("json: cannot unmarshal {kind} into Go struct field .{field} of type string");
            return Err(patched.refuse(&format!("couldn't get version/kind; json parse error: {why}")));
        }
    }
    let (api_version, kind) = (str_at(new, &["apiVersion"]), str_at(new, &["kind"]));
    if resource.is_custom() && kind.is_empty() {
        return Err(patched.refuse(&format!("Object 'Kind' is missing in '{}'", patched.shown())));
    }
    if api_version.matches('/').count() > 1 {
        return Err(patched.refuse(&format!("unexpected GroupVersion string: {api_version}")));
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
    Err(patched.refuse(&why))
}

fn refuse_shown(shown: &str, why: &str) -> StatusError {
    let message = format!("Invalid value: {}: {why}", quote(shown));
    let error = FieldError { reason: crate::field_error::FieldReason::Invalid, field: "patch".to_owned(), message };
    StatusError::invalid("", "", "", &[error])
}

/// JSON as Go writes it into a text.
fn shown_json(value: &Value) -> String {
    let mut shown = value.to_string();
    for (character, escape) in [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")] {
        if shown.contains(character) {
            shown = shown.replace(character, escape);
        }
    }
    shown
}
