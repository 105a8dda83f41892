//! What is said to an admission webhook and what it answers: `AdmissionReview`, v1 and v1beta1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Question;
use crate::field_error::quote;
use crate::hooks::ReviewVersion;
use crate::registry::Resource;
use crate::status::{Cause, Details, StatusError};
use crate::value::{at, bool_at, entries_at, i64_at, list_at, str_at, strings_at};

/// The group of the reviews.
const GROUP: &str = "admission.k8s.io";

/// What a webhook has answered.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) is_allowed: bool,
    /// The `Status` that came with it.
    pub(super) result: Value,
    /// The patch as JSON text, with its type.
    pub(super) patch: Option<(Vec<u8>, String)>,
    pub(super) warnings: Vec<String>,
    /// For the audit log.
    pub(super) annotations: Vec<(String, String)>,
}

impl Question<'_> {
    /// The review of an object, as a webhook's version of the resource has it.
    pub(super) fn review(
        &self,
        version: ReviewVersion,
        uid: &str,
        of: &Resource,
        object: &Value,
        old: &Value,
    ) -> Value {
        let mut request = self.request(of);
        for (name, value) in [("uid", &Value::from(uid)), ("object", object), ("oldObject", old)] {
            request[name] = value.clone();
        }
        json!({"kind": "AdmissionReview", "apiVersion": version.api_version(GROUP), "request": request})
    }

    /// What is asked of a webhook, but for the objects.
    pub(super) fn request(&self, of: &Resource) -> Value {
        let kind = |resource: &Resource| {
            let (group, version, kind) = self.kind_of(resource);
            json!({"group": group, "version": version, "kind": kind})
        };
        let resource = |resource: &Resource| json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
        let mut request = json!({
            "kind": kind(of),
            "resource": resource(of),
            "requestKind": kind(self.resource),
            "requestResource": resource(self.resource),
            "operation": self.operation,
            "userInfo": self.caller.identity.to_value(),
            "dryRun": self.is_dry_run,
            "options": self.options,
        });
        let texts = [
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
            ("name", self.name),
            ("namespace", self.namespace()),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            request[name] = text.into();
        }
        request
    }
}

/// Reads the answer to a review.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verdict(
    version: ReviewVersion,
    uid: &str,
    is_mutating: bool,
    answer: &Value,
) -> std::result::Result<Verdict, String> {
    let Some(response) = at(answer, &["response"]).filter(|response| response.is_object()) else {
        return Err("webhook response was absent".to_owned());
    };
    let patch_type = at(response, &["patchType"]).and_then(Value::as_str);
    let patch = bytes(&response["patch"])?;
    if version == ReviewVersion::V1 {
        check_v1(uid, answer, response)?;
        check_patch(is_mutating, !patch.is_empty(), patch_type)?;
    }
    let patch = (is_mutating && !patch.is_empty()).then(|| {
        let of = if version == ReviewVersion::V1 { patch_type } else { None };
        (patch, of.unwrap_or("JSONPatch").to_owned())
    });
    Ok(Verdict {
        is_allowed: bool_at(response, &["allowed"]) == Some(true),
        result: at(response, &["status"]).cloned().unwrap_or_default(),
        patch,
        warnings: strings_at(response, &["warnings"]).into_iter().map(str::to_owned).collect(),
        annotations: entries_at(response, &["auditAnnotations"])
            .filter_map(|(key, text)| Some((key.to_owned(), text.as_str()?.to_owned())))
            .collect(),
    })
}

/// Bytes as Go's decoder reads them: base64, or a list of their numbers, as some libraries send them.
fn bytes(value: &Value) -> std::result::Result<Vec<u8>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => STANDARD.decode(text).map_err(|error| format!("illegal base64 data: {error}")),
        Value::Array(numbers) => {
            let byte = |number: &Value| number.as_u64().and_then(|number| u8::try_from(number).ok());
            numbers.iter().map(byte).collect::<Option<_>>().ok_or_else(|| "a byte is a number from 0 to 255".to_owned())
        }
        _ => Err("bytes are base64 text or a list of numbers".to_owned()),
    }
}

fn check_v1(uid: &str, answer: &Value, response: &Value) -> std::result::Result<(), String> {
    let given = str_at(response, &["uid"]);
    if given != uid {
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(given)));
    }
    let (api_version, kind) = (str_at(answer, &["apiVersion"]), str_at(answer, &["kind"]));
    if (api_version, kind) != (ReviewVersion::V1.api_version(GROUP).as_str(), "AdmissionReview") {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}/{version}, Kind={kind}"
        ));
    }
    Ok(())
}

fn check_patch(is_mutating: bool, has_patch: bool, patch_type: Option<&str>) -> std::result::Result<(), String> {
    let why = match (is_mutating, has_patch, patch_type) {
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// The refusal that a webhook's `Status` is.
pub(super) fn denial(webhook: &str, result: &Value) -> StatusError {
    let denied = format!("admission webhook {} denied the request", quote(webhook));
    let (said, reason) = (str_at(result, &["message"]), str_at(result, &["reason"]));
    let message = match (said, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (said, _) => format!("{denied}: {said}"),
    };
    let code =
        i64_at(result, &["code"]).and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let mut refused = StatusError::new(code.unwrap_or(400), reason.to_owned(), message);
    refused.details =
        at(result, &["details"]).filter(|details| details.is_object()).map(|details| Box::new(details_of(details)));
    refused
}

fn details_of(details: &Value) -> Details {
    let text = |value: &Value, name: &str| str_at(value, &[name]).to_owned();
    let cause = |cause: &Value| Cause {
        reason: text(cause, "reason"),
        message: text(cause, "message"),
        field: text(cause, "field"),
    };
    Details {
        name: text(details, "name"),
        group: text(details, "group"),
        kind: text(details, "kind"),
        uid: text(details, "uid"),
        causes: list_at(details, &["causes"]).iter().map(cause).collect(),
        retry_after_seconds: i64_at(details, &["retryAfterSeconds"]).and_then(|seconds| u32::try_from(seconds).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    #[test]
    fn an_answer_is_checked() {
        let said = |is_mutating, answer: &Value| verdict(ReviewVersion::V1, "u", is_mutating, answer).expect_err("bad");
        assert_eq!(said(true, &json!({})), "webhook response was absent");
        assert_eq!(said(true, &answer(json!({"uid": "x"}))), "expected response.uid=\"u\", got \"x\"");
        assert_eq!(
            said(true, &json!({"response": {"uid": "u"}})),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
        );
        let patched = answer(json!({"uid": "u", "allowed": true, "patch": "W10="}));
        assert_eq!(said(true, &patched), "webhook returned response.patch but not response.patchType");
        assert_eq!(said(false, &patched), "validating webhook may not return response.patch");
        let old = verdict(ReviewVersion::V1Beta1, "u", true, &json!({"response": {"patch": "W10=", "allowed": true}}));
        assert_eq!(old.expect("verdict").patch, Some((b"[]".to_vec(), "JSONPatch".to_owned())));
        let patched = |patch: Value| {
            let response = json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"});
            verdict(ReviewVersion::V1, "u", true, &answer(response))
        };
        let numbers = patched(json!([91, 93])).expect("verdict");
        assert_eq!(numbers.patch, Some((b"[]".to_vec(), "JSONPatch".to_owned())), "Go reads numbers too");
        for wrong in [json!([91, 256]), json!(["["]), json!({}), json!("!")] {
            assert!(patched(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_denial_says_what_the_webhook_said() {
        let said = |result: Value| {
            let denied = denial("a.b.c", &result);
            (denied.code, denied.reason.to_string(), denied.message)
        };
        let with = |text: &str| format!("admission webhook \"a.b.c\" denied the request{text}");
        assert_eq!(said(json!(null)), (400, String::new(), with(" without explanation")));
        assert_eq!(said(json!({"code": 200, "reason": "Nope"})), (400, "Nope".to_owned(), with(": Nope")));
        let forbidden = json!({"code": 403, "reason": "Forbidden", "message": "no"});
        assert_eq!(said(forbidden), (403, "Forbidden".to_owned(), with(": no")));
    }
}
