//! Admission: what stands between a well-formed write and the store, besides the kind's own rules.
//!
//! ```text
//! namespace lifecycle → the kind's plug-ins (kinds::Strategy::admit) → Admission::mutate …, in order → mutating webhooks
//!                     → the kind's checks → limit ranges → Admission::validate … → validating webhooks → quotas
//! ```
//! The embedding program hands in [`Admission`]s; they run in this process, in the order given. [`webhook`]s are what objects of the API name.

pub(crate) mod limit_range;
pub(crate) mod lookup;
pub(crate) mod namespace;
pub(crate) mod quota;
pub(crate) mod service_ip;
pub(crate) mod webhook;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::identity::Identity;
use crate::status::StatusError;

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change.
    Update,
    /// An object goes away.
    Delete,
}

/// A write on its way to the store.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// What it does.
    pub operation: Operation,
    /// Group of the object's kind.
    pub group: String,
    /// Version of the object's kind, as the client wrote it.
    pub version: String,
    /// The object's kind.
    pub kind: String,
    /// The resource's plural name.
    pub resource: String,
    /// The subresource written through, empty for the object itself.
    pub subresource: String,
    /// The object's namespace, empty for cluster scope.
    pub namespace: String,
    /// The object's name; empty while it is still to be generated.
    pub name: String,
    /// The object after the write, with `apiVersion` and `kind`; `Null` for a delete.
    pub object: Value,
    /// The object before the write; `Null` for a create.
    pub old_object: Value,
    /// Who writes.
    pub user: Identity,
    /// Whether nothing will be stored.
    pub is_dry_run: bool,
}

/// A refusal by an admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The webhook's name as the refusal words it, such as `validation.webhook.serving.knative.dev`.
    pub webhook: String,
    /// The HTTP status code, such as 400.
    pub code: u16,
    /// The machine readable reason, such as `BadRequest`.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
}

impl From<Denied> for StatusError {
    fn from(denied: Denied) -> Self {
        let Denied { webhook, code, reason, message } = denied;
        Self::new(code, reason, format!("admission webhook \"{webhook}\" denied the request: {message}"))
    }
}

/// Sentences for the client about a write that is accepted.
pub type Warnings = Vec<String>;

/// Ends when it is known whether a write is refused.
pub type Consultation<'a> = BoxFuture<'a, Result<(), Denied>>;

/// In-process admission. It is asked for every write that it handles, so it must be quick.
pub trait Admission: Send + Sync {
    /// Whether it wants to see writes of a resource (`plural`) of a group.
    fn handles(&self, group: &str, resource: &str) -> bool;

    /// May change the object.
    ///
    /// # Errors
    /// The write is refused.
    fn mutate(&self, _request: &mut AdmissionRequest) -> Result<Warnings, Denied> {
        Ok(Warnings::new())
    }

    /// Looks at the object as it will be stored.
    ///
    /// # Errors
    /// The write is refused.
    fn validate(&self, _request: &AdmissionRequest) -> Result<Warnings, Denied> {
        Ok(Warnings::new())
    }

    /// What takes time to look at in an object that [`validate`](Self::validate) has accepted, such as a question to this API itself. None,
    /// if there is nothing: nearly always.
    fn consult<'a>(&'a self, _request: &'a AdmissionRequest) -> Option<Consultation<'a>> {
        None
    }
}
