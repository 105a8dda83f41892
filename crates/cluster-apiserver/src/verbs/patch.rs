//! Patches: JSON patch, merge patch, strategic merge patch. An apply is one by its method only; see [`apply`](super::apply).
//!
//! A patch is laid over the newest object, again if somebody else was faster, unless it names a revision itself.

use serde_json::{Value, json};

use super::{Answer, Ask, apply};
use crate::facts;
use crate::field_error::{FieldError, quote};
use crate::http::query::{FieldValidation, WriteOptions};
use crate::negotiate::decode;
use crate::patch::json;
use crate::patch::strategic::{self, PatchError};
use crate::registry::Resource;
use crate::status::{Result, StatusError, top};
use crate::strict::{self, DecodeError};
use crate::value::{at, object_at, str_at};
use crate::writes::{self, Next};

/// A JSON patch may have so many operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, read.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the patch of a request.
    ///
    /// # Errors
    /// 415 for a kind of patch that the resource does not take, 400 for one that cannot be read.
    pub(crate) fn of(ask: &Ask) -> Result<Self> {
        let is_custom = ask.resource.is_custom() && ask.subresource != "scale";
        let bad = |error: &dyn std::fmt::Display| StatusError::bad_request(format!("error decoding patch: {error}"));
        let value = || {
            let parsed = strict::parse_json(&ask.body);
            parsed.map(|decoded| decoded.value).map_err(|_| {
                StatusError::bad_request(format!(
                    "error decoding patch: {}",
                    crate::negotiate::json_syntax_error(&ask.body)
                ))
            })
        };
        match decode::media_type(&ask.content_type) {
            "application/json-patch+json" => {
                let operations = value()?;
                let Some(list) = operations.as_array() else {
                    let of = if operations.is_object() { "object" } else { "value" };
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
                serde_json::from_value(operations).map(Self::Json).map_err(|_| StatusError::unprocessable())
            }
            "application/merge-patch+json" => object_only(value()?).map(Self::Merge),
            "application/strategic-merge-patch+json" if !is_custom => object_only(value()?).map(Self::Strategic),
            "application/strategic-merge-patch+json" => {
                let accepted =
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
                Err(StatusError::unsupported_media_type(accepted))
            }
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

fn refuse_strategic(error: &PatchError) -> StatusError {
    match error {
        PatchError::Malformed(_) => StatusError::bad_request(error.to_string()),
        PatchError::ListOfLists => StatusError::unprocessable(),
        PatchError::Unfit(text) => StatusError::internal(text),
    }
}

fn object_only(patch: Value) -> Result<Value> {
    if patch.is_object() {
        return Ok(patch);
    }
    Err(StatusError::bad_request(
        "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
    ))
}

/// Checks the options of a patch.
pub(crate) fn options(ask: &Ask) -> Result<WriteOptions> {
    let options = WriteOptions::parse(&ask.query, "PatchOptions")?;
    if !is_apply(ask) && ask.query.get("force").is_some() {
        let error = FieldError::forbidden(&top("force"), "may not be specified for non-apply patch");
        return Err(StatusError::invalid_option("PatchOptions", &error));
    }
    Ok(options)
}

/// Whether a PATCH is an apply.
pub(crate) fn is_apply(ask: &Ask) -> bool {
    decode::media_type(&ask.content_type) == apply::MEDIA_TYPE
}

pub(crate) async fn patch(ask: &Ask) -> Result<Answer> {
    if is_apply(ask) {
        return apply::apply(ask).await;
    }
    let options = options(ask)?;
    let patch = Patch::of(ask)?;
    let resource = &ask.resource;
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
        check_type(resource, &new)?;
        let decoded = decode::patched(resource, &new).map_err(|error| refuse_result(resource, &new, &error))?;
        warnings.clear();
        if !decoded.strict_errors.is_empty() {
            match options.field_validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => warnings.clone_from(&decoded.strict_errors),
                FieldValidation::Strict => return Err(refuse_fields(&new, &decoded.strict_errors)),
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

pub(crate) fn type_of(resource: &Resource) -> Option<facts::Type> {
    if resource.is_custom() { None } else { facts::type_of_kind(&resource.group, &resource.version, &resource.kind) }
}

/// # Errors
/// 400 if the patch made it something else.
fn check_type(resource: &Resource, new: &Value) -> Result<()> {
    let (api_version, kind) = (str_at(new, &["apiVersion"]), str_at(new, &["kind"]));
    if api_version == resource.api_version && kind == resource.kind {
        return Ok(());
    }
    Err(StatusError::bad_request(format!(
        "the patched object is {kind} in version {api_version}, which cannot be handled as {} in version {}",
        resource.kind, resource.api_version
    )))
}

fn refuse_result(resource: &Resource, new: &Value, error: &DecodeError) -> StatusError {
    if resource.is_custom() {
        return StatusError::bad_request(error.to_string());
    }
    refuse_unfit(new, error)
}

/// The refusal for a patch whose result is not of its type.
pub(crate) fn refuse_unfit(new: &Value, error: &DecodeError) -> StatusError {
    refuse_patch(format!("Invalid value: {}: {error}", quote(&new.to_string())))
}

fn refuse_fields(new: &Value, errors: &[String]) -> StatusError {
    refuse_patch(format!("Invalid value: {}: {}", quote(&new.to_string()), strict::strict_error_text(errors)))
}

fn refuse_patch(message: String) -> StatusError {
    let error = FieldError { reason: crate::field_error::FieldReason::Invalid, field: "patch".to_owned(), message };
    StatusError::invalid("", "", "", &[error])
}
