//! Server-side apply: a PATCH with a whole configuration, whose sender owns what it names and nothing else.
//!
//! What is not there is created. Fields of others that would change are a conflict, unless the apply is forced.

use serde_json::Value;

use super::patch::{is_there, options, refuse_nameless};
use super::{Answer, Ask};
use crate::authz::Attributes;
use crate::fields::{Conflicts, Place, errors_of};
use crate::http::query::FieldValidation;
use crate::negotiate::decode;
use crate::status::{Cause, Details, Result, StatusError};
use crate::strict::{self, Decoded};
use crate::value::{at, str_at};
use crate::writes::{self, Context, Next, Refused, Written};

/// The media type of an apply.
pub(crate) const MEDIA_TYPE: &str = "application/apply-patch+yaml";
/// How often an apply is tried again that finds its object neither there nor missing.
const ATTEMPTS: usize = 8;

/// What is applied.
pub(crate) struct Config {
    pub(crate) object: Value,
    pub(crate) is_forced: bool,
    /// What its sender should know of it.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Reads the body of an apply, which must be of this kind.
    ///
    /// # Errors
    /// 400 if it is not such an object, 500 for one that is not of its type, as in Kubernetes.
    pub(crate) fn of(
        ask: &Ask,
        validation: FieldValidation,
        place: Option<Place<'_>>,
        api_version: &str,
        kind: &str,
    ) -> Result<Self> {
        // JSON is YAML, and is sent so often that it is tried first.
        let decoded = strict::parse_json(&ask.body).or_else(|_| strict::parse_yaml(&ask.body));
        // What looks like JSON is read later than what does not.
        let is_like_json = ask.body.trim_ascii_start().starts_with(b"{");
        if let Err(error) = decoded.as_ref()
            && !is_like_json
        {
            return Err(StatusError::bad_request(format!("error encoding patch: {error}")));
        }
        if !ask.subresource.is_empty() && !is_there(ask) {
            return Err(ask.resource.not_found(&ask.name));
        }
        let Decoded { value: object, strict_errors } = decoded.map_err(|error| {
            StatusError::bad_request(format!("error decoding patch: error converting YAML to JSON: {error}"))
        })?;
        if !object.is_object() && !object.is_null() {
            let why = crate::negotiate::no_map(&object);
            let message = format!("error decoding patch: error unmarshaling JSON: while decoding JSON: {why}");
            return Err(StatusError::bad_request(message));
        }
        let (given_version, given_kind) = (str_at(&object, &["apiVersion"]), str_at(&object, &["kind"]));
        if given_version != api_version || given_kind != kind {
            let given = kind_text(given_version, given_kind);
            return Err(StatusError::bad_request(format!("invalid object type: {given}")));
        }
        if at(&object, &["metadata", "managedFields"]).is_some() {
            return Err(StatusError::bad_request("metadata.managedFields must be nil"));
        }
        let errors = place.map(|place| errors_of(place, &object)).unwrap_or_default();
        if !errors.is_empty() {
            let why = match errors.as_slice() {
                [one] => one.clone(),
                many => format!("errors:\n  {}", many.join("\n  ")),
            };
            let message = format!("failed to create typed patch object ({}): {why}", object_text(&object));
            return Err(StatusError::new(500, "", message));
        }
        let warnings = match validation {
            FieldValidation::Strict if !strict_errors.is_empty() => {
                let why = strict::strict_error_text(&strict_errors);
                return Err(StatusError::bad_request(format!("error strict decoding patch: {why}")));
            }
            FieldValidation::Warn => strict_errors,
            FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
        };
        Ok(Self { object, is_forced: ask.query.flag("force"), warnings })
    }
}

pub(super) async fn apply(ask: &Ask) -> Result<Answer> {
    let options = options(ask)?;
    let resource = &ask.resource;
    let config = Config::of(ask, options.field_validation, resource.place(), &resource.api_version, &resource.kind)?;
    let context = ask.context(options.is_dry_run);
    let answer = |written: Written| {
        let warnings = config.warnings.iter().chain(&written.warnings).cloned().collect();
        Answer { warnings, ..Answer::from(written) }
    };
    for _ in 0..ATTEMPTS {
        let mut lay = |old: &Value| lay_over(&context, Some(old), &config);
        match writes::update(&context, &ask.name, &mut lay).await {
            Err(error) if error.code == 404 && ask.subresource.is_empty() => {}
            written => return written.map(answer),
        }
        match create(ask, &context, &config).await {
            // Somebody else was faster.
            Err(error) if error.reason == "AlreadyExists" => {}
            written => return written.map(answer),
        }
    }
    Err(resource.modified(&ask.name))
}

async fn create(ask: &Ask, context: &Context<'_>, config: &Config) -> Result<Written> {
    let resource = &ask.resource;
    let name = ask.name.as_str();
    let wanted = Attributes {
        verb: "create",
        group: &resource.group,
        resource: &resource.plural,
        namespace: &ask.namespace,
        name,
        ..Attributes::default()
    };
    ask.core.rbac.authorize(&ask.caller.identity, &wanted)?;
    let next = context.with_conversions(|| lay_over(context, None, config)).await?;
    let uid = str_at(&config.object, &["metadata", "uid"]);
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(StatusError::conflict(&resource.group, &resource.plural, name, &why));
    }
    let given = str_at(&config.object, &["metadata", "name"]);
    if given.is_empty() {
        return Err(refuse_nameless(name));
    }
    if given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(StatusError::bad_request(message));
    }
    writes::check_revision(&config.object)?;
    writes::create(context, next).await
}

/// The configuration laid over an object, in the resource's form.
fn lay_over(context: &Context<'_>, old: Option<&Value>, config: &Config) -> Result<Next> {
    let applied = context.apply(old, &config.object, config.is_forced).map_err(refuse)?;
    let decoded = decode::applied(context.resource, applied).map_err(|error| {
        let kind = kind_text(&context.resource.api_version, &context.resource.kind);
        let why = format!("unable to convert unstructured object to {kind}: {error}");
        let message =
            format!("failed to convert new object ({}) to proper version: {why}", object_text(&config.object));
        StatusError::new(500, "", message)
    })?;
    if old.is_some_and(|_| str_at(&decoded.value, &["metadata", "name"]).is_empty()) {
        return Err(refuse_nameless(str_at(old.unwrap_or(&Value::Null), &["metadata", "name"])));
    }
    Ok(Next::Owned(decoded.value))
}

/// Why an apply is not carried out.
pub(crate) fn refuse(refused: Refused) -> StatusError {
    match refused {
        Refused::Conflicts(conflicts) => refuse_conflicts(&conflicts),
        Refused::Unreadable(error) => StatusError::new(500, "", format!("failed to decode managed fields: {error}")),
    }
}

fn refuse_conflicts(conflicts: &Conflicts) -> StatusError {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (manager, set) in conflicts {
        lines.push(format!("conflicts with {manager}:"));
        for path in set.paths() {
            let field: String = path.iter().map(ToString::to_string).collect();
            lines.push(format!("- {field}"));
            let reason = "FieldManagerConflict".to_owned();
            causes.push(Cause { reason, message: format!("conflict with {manager}"), field });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    let details = Details { causes, ..Details::default() };
    StatusError { details: Some(Box::new(details)), ..StatusError::new(409, "Conflict", message) }
}

/// A kind as Go's texts have it: `apps/v1, Kind=Deployment`.
fn kind_text(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if version.contains('/') {
        // Go does not read it, and shows nothing.
        return "/, Kind=".to_owned();
    }
    format!("{group}/{version}, Kind={kind}")
}

fn object_text(object: &Value) -> String {
    let text = |name: &str| str_at(object, &["metadata", name]);
    let kind = kind_text(str_at(object, &["apiVersion"]), str_at(object, &["kind"]));
    format!("{}/{}; {kind}", text("namespace"), text("name"))
}
