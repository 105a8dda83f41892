//! Refusals, as Kubernetes words them: the `Status` object, its reasons and texts.
//!
//! Clients branch on `reason` and `code` and show `message`; the texts are those recorded from a kube-apiserver.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::field_error::{FieldError, FieldPath, aggregate};
use crate::kinds::qualify;

/// A `Status` of failure, on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StatusError {
    /// The HTTP status code.
    pub code: u16,
    /// The machine readable reason; empty if there is none.
    pub reason: Cow<'static, str>,
    /// The text for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// What the caller should know besides.
    pub warnings: Vec<String>,
}

/// What a [`StatusError`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its resource, or its kind for `Invalid`.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// What is wrong in particular.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The machine readable reason.
    pub reason: String,
    /// The text for people.
    pub message: String,
    /// The field it is about; may be empty.
    pub field: String,
}

impl From<&FieldError> for Cause {
    fn from(error: &FieldError) -> Self {
        Self { reason: error.reason.as_str().to_owned(), message: error.message.clone(), field: error.field.clone() }
    }
}

/// The result of whatever may be refused.
pub type Result<T> = std::result::Result<T, StatusError>;

impl StatusError {
    /// A refusal without details.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: None, warnings: Vec::new() }
    }

    /// With warnings before its own.
    pub(crate) fn with_warnings(mut self, warnings: &[String]) -> Self {
        self.warnings.splice(0..0, warnings.iter().cloned());
        self
    }

    fn about(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about_object(self, group: &str, kind: &str, name: &str) -> Self {
        self.about(Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() })
    }

    /// 400: the request is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody vouches for the caller.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: the caller may not.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = qualify(plural, group);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", crate::field_error::quote(name)),
        };
        Self::new(403, "Forbidden", message).about_object(group, plural, name)
    }

    /// 404: there is no such object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", qualify(plural, group)))
            .about_object(group, plural, name)
    }

    /// 404: there is no such resource.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about(Details::default())
    }

    /// 405: the resource does not have this verb.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about(Details::default())
    }

    /// 405: the resource is going away and takes nothing new.
    pub fn ending(group: &str, plural: &str, verb: &str) -> Self {
        let message = format!("{verb} not allowed while custom resource definition is terminating");
        Self::new(405, "MethodNotAllowed", message).about_object(group, plural, "")
    }

    /// 406: the answer cannot be given in any form that the client takes.
    pub fn not_acceptable() -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {MEDIA_TYPES}");
        Self::new(406, "NotAcceptable", message).about(Details::default())
    }

    /// 406 for an answer that exists in no form the client takes, though the server knows the form.
    pub fn only_accepted() -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {MEDIA_TYPES}"))
    }

    /// 409: the object was changed meanwhile.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualify(plural, group));
        Self::new(409, "Conflict", message).about_object(group, plural, name)
    }

    /// 409 for a stale resourceVersion.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", qualify(plural, group)))
            .about_object(group, plural, name)
    }

    /// 410: that revision is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: the body is too large.
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit_bytes}"))
    }

    /// 415: the body is in a form that this server does not read.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch of an unknown kind.
    pub fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about(Details::default())
    }

    /// 422: the object breaks its kind's rules.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let message = format!("{} \"{name}\" is invalid: {}", qualify(kind, group), aggregate(errors));
        Self::new(422, "Invalid", message).about(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes: errors.iter().map(Cause::from).collect(),
            ..Details::default()
        })
    }

    /// 422 for one parameter of a request, such as `dryRun` of `CreateOptions`.
    pub fn invalid_option(options: &str, error: &FieldError) -> Self {
        Self::invalid("meta.k8s.io", options, "", std::slice::from_ref(error))
    }

    /// 422 for a JSON patch that does not apply.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).about(Details::default())
    }

    /// 429: too many requests at once.
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", "too many requests, please try again later")
            .about(Details { retry_after_seconds: Some(retry_after_seconds), ..Details::default() })
    }

    /// 500: a fault of the server.
    pub fn internal(why: &str) -> Self {
        let cause = Cause { reason: String::new(), message: why.to_owned(), field: String::new() };
        Self::new(500, "InternalError", format!("Internal error occurred: {why}"))
            .about(Details { causes: vec![cause], ..Details::default() })
    }

    /// 501: a part of the contract that this server does not have.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    /// 504: that revision is not there yet.
    pub fn too_new(asked: u64, current: u64) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message).about(Details {
            causes: vec![cause],
            retry_after_seconds: Some(1),
            ..Details::default()
        })
    }

    /// What to wait before trying again, in seconds.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref().and_then(|details| details.retry_after_seconds)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = Map::new();
        let texts = [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value.insert(key.to_owned(), json!(text));
        }
        if !self.causes.is_empty() {
            value.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if let Some(seconds) = self.retry_after_seconds {
            value.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        Value::Object(value)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let texts = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        texts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| (key.to_owned(), json!(text)))
            .collect()
    }
}

/// The media types of answers, as texts name them.
pub(crate) const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The `Status` of a success, such as a delete's answer.
pub fn success(details: Option<Details>, code: Option<u16>) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        status["details"] = details.to_value();
    }
    if let Some(code) = code {
        status["code"] = json!(code);
    }
    status
}

/// The path of a top-level parameter or field.
pub(crate) const fn top(name: &str) -> FieldPath<'_> {
    FieldPath::Field(&FieldPath::Root, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        let stale = StatusError::modified("serving.knative.dev", "services", "x");
        assert_eq!(
            stale.message,
            "Operation cannot be fulfilled on services.serving.knative.dev \"x\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
        let missing = StatusError::not_found("", "configmaps", "nope").to_value();
        assert_eq!(missing["details"], json!({"name": "nope", "kind": "configmaps"}));
        let error = FieldError::required(&top("fieldManager"), "is required for apply patch");
        let option = StatusError::invalid_option("PatchOptions", &error);
        assert_eq!(
            option.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
        assert_eq!(StatusError::no_such_resource().to_value()["details"], json!({}));
    }
}
