//! What Knative's webhooks say about an object: one table, kind → (default, validate).
//!
//! ```text
//! write ─► mutate: decode ► default ► who did it ─► schema ─► validate: errors, warnings ─► store
//!          "webhook.serving.knative.dev"              "validation.webhook.serving.knative.dev"
//! ```
//!
//! Both work on JSON and on values alone: the API server calls them in its admission chain, or a
//! webhook role over HTTPS. A refusal is worded as the webhook of Knative's name would be reported
//! by a Kubernetes API server, because clients and tests look for that text. ConfigMaps have a
//! webhook of their own, [`validate_config_map`].
//!
//! Of an object of which nothing is to be stored (`dryRun=All`) the Pod is tried, too: [`revision_to_try`]
//! says whose, whoever calls tries it, and a refusal is [`pod_refused`].
//!
//! What is returned by [`mutate`] is the object as its type writes it: fields that the type does
//! not know are gone, as they are after Knative's webhook.

mod config_map;
mod decode;
mod dry_run;
mod table;
#[cfg(test)]
mod tests;

pub use config_map::{example_checksum, validate_config_map};
pub use dry_run::{pod_refused, revision_to_try};

use crate::config::Configs;
use crate::field_error::Level;
use crate::meta::annotation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// The webhook that fills in defaults.
pub const DEFAULTING_WEBHOOK: &str = "webhook.serving.knative.dev";
/// The webhook that validates objects.
pub const VALIDATION_WEBHOOK: &str = "validation.webhook.serving.knative.dev";
/// The webhook that validates ConfigMaps.
pub const CONFIG_WEBHOOK: &str = "config.webhook.serving.knative.dev";

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// An object that exists is read again: nothing is being asked.
    Read,
}

/// What defaulting and validation may look at beside the object.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The operator's settings.
    pub configs: &'a Configs,
    /// What is done.
    pub operation: Operation,
    /// Which part of the object is written: `""` or `"status"`.
    pub subresource: &'a str,
    /// The user who does it; empty if nobody is known.
    pub user: &'a str,
}

impl Context<'_> {
    /// Whether only the status is written.
    pub fn is_status(&self) -> bool {
        self.operation == Operation::Update && self.subresource == "status"
    }

    /// Writes who made or changed an object; a change that asks for nothing new is nobody's.
    pub(crate) fn set_user(&self, meta: &mut ObjectMeta, unchanged: bool) {
        if self.user.is_empty() || self.operation == Operation::Read {
            return;
        }
        let is_update = self.operation == Operation::Update;
        if is_update && unchanged {
            return;
        }
        let annotations = meta.annotations.get_or_insert_default();
        if !is_update {
            annotations.insert(annotation::CREATOR.to_owned(), self.user.to_owned());
        }
        annotations.insert(annotation::LAST_MODIFIER.to_owned(), self.user.to_owned());
    }
}

/// An object that is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The API group.
    pub group: &'a str,
    /// The API version.
    pub version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The object as it is to be.
    pub object: &'a Value,
    /// The object as it is, in an update.
    pub old: Option<&'a Value>,
    /// How, by whom, and under which settings.
    pub context: Context<'a>,
}

/// A refusal: HTTP 400, reason `BadRequest`, with this message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("admission webhook {} denied the request: {problem}", crate::go_text::quote(.webhook))]
pub struct Denied {
    /// The webhook that refuses.
    pub webhook: &'static str,
    /// What it says.
    pub problem: String,
}

impl Denied {
    fn new(webhook: &'static str, problem: impl Into<String>) -> Self {
        Self { webhook, problem: problem.into() }
    }
}

/// Whether objects of this kind are looked at.
pub fn handles(group: &str, version: &str, kind: &str) -> bool {
    table::find(group, version, kind).is_some()
}

/// Fills in an object. Returns it as it is to be stored.
///
/// # Errors
/// An object that does not have the shape of its kind is refused.
pub fn mutate(request: &Request<'_>) -> Result<Value, Denied> {
    let Some(entry) = table::find(request.group, request.version, request.kind) else {
        return Ok(request.object.clone());
    };
    (entry.mutate)(request).map_err(|problem| Denied::new(DEFAULTING_WEBHOOK, format!("mutation failed: {problem}")))
}

/// Looks at an object that has been filled in. Returns warnings for the user.
///
/// # Errors
/// An object that is not accepted is refused, with everything that is wrong with it.
pub fn validate(request: &Request<'_>) -> Result<Vec<String>, Denied> {
    let Some(entry) = table::find(request.group, request.version, request.kind) else { return Ok(Vec::new()) };
    let found = (entry.validate)(request)
        .map_err(|problem| Denied::new(VALIDATION_WEBHOOK, format!("decoding request failed: {problem}")))?;
    let errors = found.clone().filter(Level::Error);
    if !errors.is_empty() {
        return Err(Denied::new(VALIDATION_WEBHOOK, format!("validation failed: {errors}")));
    }
    Ok(found.merged().iter().map(ToString::to_string).collect())
}
