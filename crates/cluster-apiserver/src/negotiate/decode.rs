//! Bodies of requests: JSON, YAML or protobuf into an object of a resource, with everything noticed that does not fit.

use serde_json::{Value, json};

use super::go_json;
use crate::facts::{self, Type};
use crate::field_error::quote;
use crate::http::query::FieldValidation;
use crate::proto;
use crate::registry::{Behaviour, Resource};
use crate::status::{Result, StatusError};
use crate::strict::{self, DecodeError, Decoded};
use crate::value::str_at;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// So much of a body that cannot be read is shown.
const SUMMARY_BYTES: usize = 30;

/// The syntax of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Yaml,
    Protobuf,
}

/// A media type without its parameters.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn form(content_type: &str, is_custom: bool) -> Result<Form> {
    match media_type(content_type) {
        // Some clients say nothing and mean JSON.
        "" | "application/json" => Ok(Form::Json),
        "application/yaml" => Ok(Form::Yaml),
        PROTOBUF if !is_custom => Ok(Form::Protobuf),
        _ => Err(StatusError::unsupported_media_type(crate::status::MEDIA_TYPES)),
    }
}

/// Checks the form of the body of a create or an update.
///
/// # Errors
/// 415 for an unknown form.
pub(crate) fn check_form(resource: &Resource, content_type: &str) -> Result<()> {
    form(content_type, resource.is_custom()).map(drop)
}

/// Decodes the body of a create or an update.
///
/// # Errors
/// 415 for an unknown form, 400 for a body that is not an object of this resource.
pub(crate) fn object(
    resource: &Resource,
    content_type: &str,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded> {
    let form = form(content_type, resource.is_custom())?;
    let target = Target::of(resource);
    if form == Form::Protobuf {
        return protobuf(&target, body);
    }
    let text = Text::of(&target, form, body)?;
    let (api_version, kind) = text.type_meta(&target, body)?;
    if target.of.is_none() && kind.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
        // Who does not ask for unknown fields has it read by another reader, which knows what it should be.
        return Err(if validation == FieldValidation::Ignore {
            let version = api_version.rsplit('/').next().filter(|version| !version.is_empty());
            target.cannot_be_handled(target.kind, version.unwrap_or(target.version), &why)
        } else {
            target.unrecognized(&why, body)
        });
    }
    let checked = target.check(&api_version, &kind);
    // Whether a custom object can be read comes before which version of it that is.
    if target.of.is_some() {
        checked.clone()?;
    }
    let decoded = match (&text, target.of) {
        (Text::Yaml(parsed), Some(of)) => strict::decode_value(of, &parsed.value).map(|decoded| parsed.and(decoded)),
        (Text::Yaml(parsed), None) => strict::decode_custom_value(&parsed.value).map(|decoded| parsed.and(decoded)),
        (Text::Json(body), Some(of)) => strict::decode_json(of, body),
        (Text::Json(body), None) => strict::decode_custom_json(body),
    };
    let version = api_version.rsplit('/').next().filter(|version| !version.is_empty()).unwrap_or(target.version);
    let mut decoded = decoded.map_err(|error| target.cannot_be_handled(target.kind, version, &error.to_string()))?;
    checked?;
    if let (Text::Json(body), Some(_)) = (&text, target.of)
        && disowns(body)
    {
        crate::value::object_at(&mut decoded.value, &["metadata"]).insert("managedFields".to_owned(), json!([{}]));
    }
    prune(resource, &mut decoded);
    Ok(decoded)
}

/// Whether a body has managedFields, and no entry in them: this is not leaving them out, which the canonical form does not tell.
fn disowns(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Object {
        metadata: Option<Metadata>,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        #[serde(rename = "managedFields")]
        managed_fields: Option<Vec<serde::de::IgnoredAny>>,
    }
    let is_named = memchr::memmem::find(body, b"\"managedFields\"").is_some();
    let object = is_named.then(|| serde_json::from_slice::<Object>(body).ok()).flatten();
    object.and_then(|object| object.metadata?.managed_fields).is_some_and(|entries| entries.is_empty())
}

/// Decodes the body of a subresource, such as a `Scale`.
///
/// # Errors
/// As [`object`].
pub(crate) fn body_of(group: &str, version: &str, kind: &str, content_type: &str, body: &[u8]) -> Result<Decoded> {
    let form = form(content_type, false)?;
    let of = facts::type_of_kind(group, version, kind);
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let target = Target { group, version, kind, api_version: &api_version, of };
    if form == Form::Protobuf {
        return protobuf(&target, body);
    }
    let text = Text::of(&target, form, body)?;
    let (found_version, found_kind) = text.type_meta(&target, body)?;
    target.check(&found_version, &found_kind)?;
    let decoded = match (text, of) {
        (Text::Yaml(parsed), Some(of)) => strict::decode_value(of, &parsed.value).map(|decoded| parsed.and(decoded)),
        (Text::Yaml(parsed), None) => Ok(parsed),
        (Text::Json(body), Some(of)) => strict::decode_json(of, body),
        (Text::Json(body), None) => strict::parse_json(body),
    };
    decoded.map_err(|error| target.unhandled(&error))
}

/// Decodes the options in the body of a delete, whatever group they claim; `None` if there is no body.
///
/// # Errors
/// As [`object`].
pub(crate) fn delete_options(content_type: &str, body: &[u8]) -> Result<Option<Value>> {
    if body.is_empty() {
        return Ok(None);
    }
    let of = facts::type_named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let target = Target { group: "", version: "v1", kind: "DeleteOptions", api_version: "v1", of };
    let Some(of) = of else { return Ok(None) };
    let form = form(content_type, false)?;
    if form == Form::Protobuf {
        return protobuf(&target, body).map(|decoded| Some(decoded.value));
    }
    let text = Text::of(&target, form, body)?;
    let (_, kind) = text.type_meta(&target, body)?;
    if !kind.is_empty() && kind != "DeleteOptions" {
        let scheme = "pkg/runtime/scheme.go:111";
        let message = format!("no kind {} is registered for version \"v1\" in scheme {}", quote(&kind), quote(scheme));
        return Err(StatusError::bad_request(message));
    }
    let decoded = match text {
        Text::Yaml(parsed) => strict::decode_value(of, &parsed.value),
        Text::Json(body) => strict::decode_json(of, body),
    };
    decoded.map(|decoded| Some(decoded.value)).map_err(|error| StatusError::bad_request(error.to_string()))
}

/// Brings the result of a patch into the form of the resource.
pub(crate) fn patched(resource: &Resource, value: &Value) -> std::result::Result<Decoded, DecodeError> {
    let mut decoded = match Target::of(resource).of {
        Some(of) => strict::decode_value(of, value)?,
        None => strict::decode_custom_value(value)?,
    };
    prune(resource, &mut decoded);
    Ok(decoded)
}

/// Brings the result of an apply into the form of the resource; of a custom object, what does not fit in its metadata is dropped.
pub(crate) fn applied(resource: &Resource, mut value: Value) -> std::result::Result<Decoded, DecodeError> {
    let mut decoded = match Target::of(resource).of {
        Some(of) => strict::convert_value(of, &value)?,
        None => {
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|name, value| strict::decode_custom_value(&json!({"metadata": {name: value}})).is_ok());
            }
            strict::decode_custom_value(&value)?
        }
    };
    prune(resource, &mut decoded);
    Ok(decoded)
}

/// Drops what a custom resource's schema does not know.
fn prune(resource: &Resource, decoded: &mut Decoded) {
    if let Behaviour::Custom(custom) = &resource.behaviour {
        let mut dropped = Vec::new();
        custom.schema.prune(&mut decoded.value, &mut dropped);
        decoded.strict_errors.extend(dropped.iter().map(|path| format!("unknown field {}", quote(path))));
    }
}

/// What a body should be.
struct Target<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    api_version: &'a str,
    of: Option<Type>,
}

impl<'a> Target<'a> {
    fn of(resource: &'a Resource) -> Self {
        let of = match &resource.behaviour {
            Behaviour::Builtin(kind) => facts::type_of_kind(kind.group, kind.version, kind.kind),
            Behaviour::Custom(_) => None,
        };
        Self {
            group: &resource.group,
            version: &resource.version,
            kind: &resource.kind,
            api_version: &resource.api_version,
            of,
        }
    }

    /// # Errors
    /// 400 if the body says that it is something else.
    fn check(&self, api_version: &str, kind: &str) -> Result<()> {
        let is_version = api_version.is_empty() || api_version == self.api_version;
        let is_kind = kind.is_empty() || kind == self.kind;
        match (is_version, is_kind) {
            (true, true) => Ok(()),
            // A custom kind's own check says what it must be.
            (true, false) if self.of.is_none() => Ok(()),
            (false, _) if self.of.is_none() => Err(StatusError::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                self.api_version
            ))),
            _ => Err(self.mismatch(if api_version.is_empty() { self.api_version } else { api_version }, kind)),
        }
    }

    fn mismatch(&self, api_version: &str, kind: &str) -> StatusError {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = if kind.is_empty() { self.kind } else { kind };
        let why = if facts::type_of_kind(group, version, kind).is_some() {
            format!("converting ({}.{kind}) to ({}.{}): unknown conversion", version, package(self.group), self.kind)
        } else {
            format!(
                "no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
                quote(kind),
                quote(api_version)
            )
        };
        self.cannot_be_handled(kind, version, &why)
    }

    fn unhandled(&self, error: &DecodeError) -> StatusError {
        self.cannot_be_handled(self.kind, self.version, &error.to_string())
    }

    fn cannot_be_handled(&self, kind: &str, version: &str, why: &str) -> StatusError {
        StatusError::bad_request(format!(
            "{kind} in version {} cannot be handled as a {}: {why}",
            quote(version),
            self.kind
        ))
    }

    fn unrecognized(&self, why: &str, body: &[u8]) -> StatusError {
        let kind = self.kind;
        StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            summary(body)
        ))
    }

    fn without_version(&self, why: &str, body: &[u8]) -> StatusError {
        self.unrecognized(&format!("couldn't get version/kind; json parse error: {why}"), body)
    }
}

/// The name of a group's internal Go package, as texts show it.
fn package(group: &str) -> &str {
    match group {
        "" => "core",
        _ => group.split('.').next().unwrap_or(group),
    }
}

fn summary(body: &[u8]) -> String {
    let (shown, dots) = match body.get(..SUMMARY_BYTES) {
        Some(start) if body.len() > SUMMARY_BYTES => (start, " ..."),
        _ => (body, ""),
    };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{dots}", shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// A body that is text. YAML is parsed once; JSON is read in place, so that duplicate fields are seen.
enum Text<'a> {
    Json(&'a [u8]),
    Yaml(Decoded),
}

impl<'a> Text<'a> {
    /// # Errors
    /// 400 for YAML that cannot be read.
    fn of(target: &Target<'_>, form: Form, body: &'a [u8]) -> Result<Self> {
        if form != Form::Yaml {
            return Ok(Self::Json(body));
        }
        strict::parse_yaml(body).map(Self::Yaml).map_err(|error| target.unrecognized(&error.to_string(), body))
    }

    /// `apiVersion` and `kind`. `shown` is the body as it came.
    ///
    /// # Errors
    /// 400 for JSON that cannot be read, and for a version that is none.
    fn type_meta(&self, target: &Target<'_>, shown: &[u8]) -> Result<(String, String)> {
        #[derive(serde::Deserialize)]
        struct Meta {
            #[serde(default, rename = "apiVersion")]
            api_version: Option<Value>,
            #[serde(default)]
            kind: Option<Value>,
        }
        let meta: Meta = match self {
            Self::Yaml(parsed) => {
                let get = |name: &str| parsed.value.get(name).cloned();
                Meta { api_version: get("apiVersion"), kind: get("kind") }
            }
            Self::Json(body) if body.trim_ascii_start().starts_with(b"[") => return Err(json_error(target, body)),
            Self::Json(body) => serde_json::from_slice(body).map_err(|_| json_error(target, body))?,
        };
        if let (Self::Json(body), Some(_)) = (self, target.of) {
            for (field, value) in [("apiVersion", &meta.api_version), ("kind", &meta.kind)] {
                if let Some(value) = value.as_ref().filter(|value| !value.is_string() && !value.is_null()) {
                    let of = go_json::kind(value);
                    let why = format!("json: cannot unmarshal {of} into Go struct field .{field} of type string");
                    return Err(target.without_version(&why, body));
                }
            }
        }
        let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text(meta.api_version), text(meta.kind));
        if api_version.matches('/').count() > 1 {
            return Err(target.unrecognized(&format!("unexpected GroupVersion string: {api_version}"), shown));
        }
        Ok((api_version, kind))
    }
}

fn json_error(target: &Target<'_>, body: &[u8]) -> StatusError {
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        // It is JSON, but not an object.
        Ok(_) => {
            let of = match body.iter().find(|b| !b.is_ascii_whitespace()) {
                Some(b'[') => "array",
                Some(b'"') => "string",
                Some(b't' | b'f') => "bool",
                _ => "number",
            };
            target.without_version(&go_json::no_type_meta(of), body)
        }
        Err(_) => target.without_version(&go_json::syntax_error(body), body),
    }
}

fn protobuf(target: &Target<'_>, body: &[u8]) -> Result<Decoded> {
    let wrong = |error: &dyn std::fmt::Display| {
        StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {error} ({})",
            target.kind,
            summary(body)
        ))
    };
    let envelope = proto::open(body).map_err(|error| wrong(&error))?;
    // Options come with the group of what they are for.
    if target.kind != "DeleteOptions" {
        target.check(&envelope.api_version, &envelope.kind)?;
    }
    let Some(of) = target.of else {
        return Err(StatusError::unsupported_media_type(crate::status::MEDIA_TYPES));
    };
    let value = proto::decode_envelope(&envelope, of).map_err(|error| wrong(&error))?;
    Ok(Decoded { value, strict_errors: Vec::new() })
}

/// What is done about fields that do not fit: refused, told, or nothing.
///
/// # Errors
/// 400 under strict validation.
pub(crate) fn settle_strictness(
    resource_kind: &str,
    version: &str,
    errors: &[String],
    mode: FieldValidation,
) -> Result<Vec<String>> {
    match mode {
        _ if errors.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(errors.to_vec()),
        FieldValidation::Strict => {
            let why = strict::strict_error_text(errors);
            Err(StatusError::bad_request(format!(
                "{resource_kind} in version {} cannot be handled as a {resource_kind}: {why}",
                quote(version)
            )))
        }
    }
}

/// The name in a body.
pub(crate) fn name_of(object: &Value) -> &str {
    str_at(object, &["metadata", "name"])
}
