//! Carries out a plan: the only code that writes objects.
//!
//! ```text
//! finalizer added ──► changes, in order ──► status (/status) ──► finalizer removed
//!        │                  │ refused: skip the rest, set its condition ──► status
//!        └── conflict ──────┴──► stop: the key comes back
//! ```
//! - An overlay goes out as a PUT with the base's `resourceVersion`, and not at all when nothing changes; the same holds for the status.
//! - A conflict (also: the object to create is there already, the object to change is gone, the one to delete is another) is no error: the
//!   caches will show it, and the key comes back.
//! - A refusal (the server understood and said no) skips the remaining changes, sets the condition that the change carries, and the status
//!   is still written. The finalizer stays then. Without such a condition the refusal is an error, after the status.
//! - Everything else (no answer, 5xx, 429, 401) is an error: the key is retried with a growing delay.
//! - What has been deleted already is deleted.

mod status;
mod wire;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::Value;

use crate::diff;
use crate::key::{GroupKind, Key, ObjectRef};
use crate::object::{Object, Revision};
use crate::overlay::overlay;
use crate::plan::{Action, Change, Condition, Deletion, Finalizer, OnRefusal, Plan, PlanEvent, shown};
use wire::{Failure, Sent};

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How the application of a plan ended, when nothing of the infrastructure failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as the plan wants it.
    Done,
    /// So it is, and the plan asked to look again after this time.
    Again(Duration),
    /// Somebody else was faster; the key has to be planned again from newer facts.
    Conflict,
}

/// A write that the server took.
#[derive(Clone, Debug)]
pub struct Written {
    /// The kind written.
    pub kind: GroupKind,
    /// The object written, with the name that the server gave it.
    pub key: Key,
    /// The object's revision after it; none for a deletion.
    pub revision: Option<Revision>,
    /// The object's metadata after it (for a deletion: its uid).
    pub meta: ObjectMeta,
}

/// What became of a plan.
#[derive(Debug)]
pub struct Applied {
    /// How it ended.
    pub outcome: Result<Outcome, ApplyError>,
    /// What was written, also if it ended early.
    pub writes: Vec<Written>,
    /// The change that was refused with a condition to set, and the server's words.
    pub refused: Option<Refused>,
    /// What the changes that were carried out or refused want told about the object, also if it ended early.
    pub events: Vec<PlanEvent>,
}

/// A change that the server refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The object that was to be written.
    pub target: ObjectRef,
    /// The server's words.
    pub message: String,
}

/// Why a plan could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The server did not answer, or could not.
    #[error("could not write {target}")]
    Write {
        /// The object that was to be written.
        target: ObjectRef,
        /// What went wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server did not answer in time.
    #[error("writing {target} took longer than {} s", WRITE_TIMEOUT.as_secs())]
    Timeout {
        /// The object that was to be written.
        target: ObjectRef,
    },
    /// The server refused a write that carries no condition for that case.
    #[error("{target} was refused: {message}")]
    Refused {
        /// The object that was to be written.
        target: ObjectRef,
        /// The server's words.
        message: String,
    },
    /// The object has no JSON form: a defect of its type.
    #[error("{target} has no form as JSON: {reason}")]
    Encode {
        /// The object that was to be written.
        target: ObjectRef,
        /// What went wrong.
        reason: String,
    },
}

impl ApplyError {
    /// Whether the write may have happened all the same.
    pub fn is_unsure(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Timeout { .. })
    }
}

/// The object that a plan is about: where its status and finalizer go.
#[derive(Clone, Debug)]
pub struct Subject {
    resource: ApiResource,
    key: Key,
    object: Value,
}

impl Subject {
    /// `object`, as gathered from the cache.
    ///
    /// # Errors
    /// The object has no JSON form.
    pub fn try_new<K: Object>(resource: &ApiResource, object: &K) -> Result<Self, ApplyError> {
        let key = Key::of(object);
        let target = ObjectRef { kind: GroupKind::from(resource), key: key.clone() };
        let object = to_json(object, &target)?;
        Ok(Self { resource: resource.clone(), key, object })
    }
}

/// Writes plans through one client.
#[derive(Clone)]
pub struct Applier {
    client: Client,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").finish_non_exhaustive()
    }
}

impl Applier {
    /// Writes as the identity of `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Carries out `plan`, which is about `subject` (none: its status and finalizer are ignored). `refuse` sets the condition of a refused
    /// change in the status. The plan's events and references are not this function's business.
    pub async fn apply<S: Serialize>(
        &self,
        subject: Option<Subject>,
        plan: Plan<S>,
        refuse: impl FnOnce(&mut S, &Condition),
    ) -> Applied {
        let mut run = Run { applier: self, subject, writes: Vec::new(), refused: None, events: Vec::new() };
        let outcome = match run.all(plan, refuse).await {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Conflict) => Ok(Outcome::Conflict),
            Err(Stop::Failed(error)) => Err(error),
        };
        Applied { outcome, writes: run.writes, refused: run.refused, events: run.events }
    }

    /// Carries out changes that belong to no object of their own, in order, as in a plan without a status.
    pub async fn apply_changes(&self, changes: Vec<Change>) -> Applied {
        self.apply(None, Plan { changes, ..Plan::new(()) }, |(), _| {}).await
    }

    fn api(&self, resource: &ApiResource, key: &Key) -> Api<Sent> {
        match key.namespace() {
            "" => Api::all_with(self.client.clone(), resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, resource),
        }
    }
}

/// Why a run ends before its end.
enum Stop {
    Conflict,
    Failed(ApplyError),
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Failed(error)
    }
}

/// What became of one change.
enum Step {
    Done,
    Refused { condition: Option<Condition>, refused: Refused },
}

/// One application of one plan.
struct Run<'a> {
    applier: &'a Applier,
    /// As last read or written.
    subject: Option<Subject>,
    writes: Vec<Written>,
    refused: Option<Refused>,
    events: Vec<PlanEvent>,
}

impl Run<'_> {
    async fn all<S: Serialize>(
        &mut self,
        mut plan: Plan<S>,
        refuse: impl FnOnce(&mut S, &Condition),
    ) -> Result<Outcome, Stop> {
        if let Finalizer::Add(name) = plan.finalizer {
            self.set_finalizer(name, true).await?;
        }
        let mut refused_bare = None;
        for change in plan.changes {
            match self.change(change).await? {
                Step::Done => continue,
                Step::Refused { condition: Some(condition), refused } => {
                    refuse(&mut plan.status, &condition);
                    self.refused = Some(refused);
                }
                Step::Refused { condition: None, refused } => refused_bare = Some(refused),
            }
            break;
        }
        self.set_status(&plan.status).await?;
        if let Some(Refused { target, message }) = refused_bare {
            return Err(ApplyError::Refused { target, message }.into());
        }
        if let (Finalizer::Remove(name), None) = (plan.finalizer, &self.refused) {
            self.set_finalizer(name, false).await?;
        }
        Ok(plan.again.map_or(Outcome::Done, Outcome::Again))
    }

    async fn change(&mut self, change: Change) -> Result<Step, Stop> {
        let target = change.target();
        let Change { resource, key, action, on_refusal, done_event, refused_event } = change;
        let writes_before = self.writes.len();
        let failure = match action {
            Action::Create { object } => self.create(&resource, &key, object).await?,
            Action::Overlay { desired, base, subresource } => {
                self.overlay(&resource, &key, (desired, base), subresource).await?
            }
            Action::Merge { fields } => self.merge(&resource, &key, fields).await?,
            Action::Delete(deletion) => self.delete(&resource, &key, deletion).await?,
            Action::DeleteCollection => self.delete_collection(&resource, &key).await?,
            Action::Post { subresource, body } => self.post(&resource, &key, subresource, &body).await?,
            Action::Broken { reason } => return Err(ApplyError::Encode { target, reason }.into()),
        };
        match &failure {
            None => {
                let written = self.writes.get(writes_before..).and_then(<[Written]>::last);
                let name = written.map_or(key.name(), |written| written.key.name()).to_owned();
                self.tell(done_event, "{name}", &name);
            }
            Some(message) => self.tell(refused_event, "{error}", message),
        }
        let Some(message) = failure else { return Ok(Step::Done) };
        let condition = match on_refusal {
            OnRefusal::Retry => None,
            OnRefusal::Set(mut condition) => {
                tracing::info!(%target, message, condition = condition.type_, "change was refused");
                condition.message = condition.message.replace("{error}", &message);
                Some(condition)
            }
        };
        Ok(Step::Refused { condition, refused: Refused { target, message } })
    }

    fn tell(&mut self, event: Option<PlanEvent>, placeholder: &str, text: &str) {
        if let Some(mut event) = event {
            event.message = event.message.replace(placeholder, text);
            self.events.push(event);
        }
    }

    /// Creates an object. The result of this and the following: the server's words if it refused.
    async fn create(&mut self, resource: &ApiResource, key: &Key, object: Value) -> Result<Option<String>, Stop> {
        let target = target(resource, key);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(%target, object = %shown(resource, &object), "create");
        }
        let api = self.applier.api(resource, key);
        let sent = Sent::new(resource, object);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let answer = wire::bounded(api.create(&PostParams::default(), &sent)).await;
        match answer {
            Ok(created) => {
                self.note(resource, created.meta());
                Ok(None)
            }
            // Not to be found is the namespace.
            Err(Failure::Missing(message) | Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    async fn overlay(
        &mut self,
        resource: &ApiResource,
        key: &Key,
        (mut desired, mut base): (Value, Value),
        subresource: Option<&'static str>,
    ) -> Result<Option<String>, Stop> {
        self.use_latest(resource, key, &mut base);
        keep_writable(&mut desired, subresource);
        let mut merged = overlay(&base, &desired);
        restore_identity(&mut merged, &base);
        if merged == base {
            return Ok(None);
        }
        let target = target(resource, key);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(%target, subresource, diff = diff::describe(&shown(resource, &base), &shown(resource, &merged)), "overlay");
        }
        match self.replace(resource, key, (&base, merged), subresource).await {
            Ok(()) => Ok(None),
            Err(Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    async fn merge(&mut self, resource: &ApiResource, key: &Key, fields: Value) -> Result<Option<String>, Stop> {
        let target = target(resource, key);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(%target, fields = %shown(resource, &fields), "merge");
        }
        let api = self.applier.api(resource, key);
        let patch = Patch::Merge(fields);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let answer = wire::bounded(api.patch(key.name(), &PatchParams::default(), &patch)).await;
        match answer {
            Ok(merged) => {
                self.note(resource, merged.meta());
                Ok(None)
            }
            Err(Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    async fn delete(&mut self, resource: &ApiResource, key: &Key, deletion: Deletion) -> Result<Option<String>, Stop> {
        let target = target(resource, key);
        tracing::debug!(%target, ?deletion, "delete");
        let Deletion { uid, version, is_exact, grace_period_s: grace_period_seconds, propagation } = deletion;
        let preconditions = Some(Preconditions { uid: uid.clone(), resource_version: version.filter(|_| is_exact) });
        let params =
            DeleteParams { dry_run: false, grace_period_seconds, propagation_policy: propagation, preconditions };
        let api = self.applier.api(resource, key);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let answer = wire::bounded(api.delete(key.name(), &params)).await;
        match answer {
            Ok(_) => {
                let meta = ObjectMeta { uid, ..meta_of(key) };
                self.writes.push(Written { kind: target.kind, key: key.clone(), revision: None, meta });
                Ok(None)
            }
            Err(Failure::Missing(_)) => Ok(None),
            Err(Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    async fn delete_collection(&self, resource: &ApiResource, key: &Key) -> Result<Option<String>, Stop> {
        let target = target(resource, key);
        tracing::debug!(%target, "delete collection");
        let api = self.applier.api(resource, key);
        let params = DeleteParams::default();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let answer = wire::bounded(api.delete_collection(&params, &ListParams::default())).await;
        match answer {
            Ok(_) | Err(Failure::Missing(_)) => Ok(None),
            Err(Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    async fn post(
        &mut self,
        resource: &ApiResource,
        key: &Key,
        subresource: &'static str,
        body: &Value,
    ) -> Result<Option<String>, Stop> {
        let target = target(resource, key);
        tracing::debug!(%target, subresource, %body, "post");
        let api = self.applier.api(resource, key);
        let params = PostParams::default();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let posting = api.create_subresource::<Value, serde::de::IgnoredAny>(subresource, key.name(), &params, body);
        match wire::bounded(posting).await {
            Ok(_) => Ok(None),
            Err(Failure::Refused(message)) => Ok(Some(message)),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    /// PUTs `new` in place of `old`.
    async fn replace(
        &mut self,
        resource: &ApiResource,
        key: &Key,
        (old, new): (&Value, Value),
        subresource: Option<&'static str>,
    ) -> Result<(), Failure> {
        let api = self.applier.api(resource, key);
        let sent = match subresource {
            // It is a kind of its own.
            Some("scale") => Sent::as_it_is(new),
            _ => Sent::new(resource, new),
        };
        let params = PostParams::default();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that writes objects")]
        let answer = match subresource {
            None => wire::bounded(api.replace(key.name(), &params, &sent)).await,
            Some(name) => wire::bounded(api.replace_subresource(name, key.name(), &params, &sent)).await,
        };
        let answer = answer?;
        if answer.meta().resource_version.as_deref() != resource_version(old) {
            self.note(resource, answer.meta());
        }
        if let Some(subject) =
            self.subject.as_mut().filter(|subject| subject.key == *key && subject.resource == *resource)
        {
            subject.object = answer.into_body();
        }
        Ok(())
    }

    /// An overlay of the subject itself has to build on what this run wrote to it.
    fn use_latest(&self, resource: &ApiResource, key: &Key, base: &mut Value) {
        if let Some(subject) =
            self.subject.as_ref().filter(|subject| subject.key == *key && subject.resource == *resource)
        {
            base.clone_from(&subject.object);
        }
    }

    fn note(&mut self, resource: &ApiResource, meta: &ObjectMeta) {
        if let Some(revision) = Revision::of(meta) {
            let key = Key::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
            let kind = GroupKind::from(resource);
            self.writes.push(Written { kind, key, revision: Some(revision), meta: meta.clone() });
        }
    }
}

fn stop(failure: Failure, target: ObjectRef) -> Stop {
    match failure {
        // What is to be changed is another one now, or gone: the cache will show it.
        Failure::Conflict(message) | Failure::Missing(message) => {
            tracing::debug!(%target, message, "conflict");
            Stop::Conflict
        }
        Failure::Refused(message) => Stop::Failed(ApplyError::Refused { target, message }),
        Failure::Timeout => Stop::Failed(ApplyError::Timeout { target }),
        Failure::Infrastructure(source) => Stop::Failed(ApplyError::Write { target, source }),
    }
}

fn target(resource: &ApiResource, key: &Key) -> ObjectRef {
    ObjectRef { kind: GroupKind::from(resource), key: key.clone() }
}

fn meta_of(key: &Key) -> ObjectMeta {
    ObjectMeta {
        name: Some(key.name().to_owned()),
        namespace: Some(key.namespace().to_owned()),
        ..ObjectMeta::default()
    }
}

fn to_json(object: &impl Serialize, target: &ObjectRef) -> Result<Value, ApplyError> {
    let encoded = serde_json::to_value(object);
    encoded.map_err(|error| ApplyError::Encode { target: target.clone(), reason: error.to_string() })
}

fn resource_version(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("resourceVersion")?.as_str()
}

/// A PUT to the object ignores its status, one to its status all but that. What the kind is called is no field.
fn keep_writable(desired: &mut Value, subresource: Option<&str>) {
    let Value::Object(fields) = desired else { return };
    match subresource {
        Some("status") => fields.retain(|name, _| name == "status"),
        Some(_) => {}
        None => {
            fields.remove("status");
        }
    }
    fields.remove("apiVersion");
    fields.remove("kind");
}

/// A maker may start from a whole object; which object is written, and on top of which version, is never its business.
fn restore_identity(merged: &mut Value, base: &Value) {
    for field in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
        let Some(Value::Object(meta)) = merged.get_mut("metadata") else { return };
        match base.get("metadata").and_then(|meta| meta.get(field)) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    }
}
