//! The one way to the store: create, update and delete, whoever asks and through whatever subresource.
//!
//! ```text
//! create: namespace → defaults → owners → plug-ins → mutate → name, uid → addresses → kind's checks → grants → validate → quotas → commit
//! update: head → transform(old) → revision, uid → defaults → owners → plug-ins → mutate → kind's checks → … → commit at the head's revision, or again
//! delete: head → preconditions → grace, finalizers, dependents → mark, or commit the deletion
//! ```
//! An update that changes nothing is not written: controllers count on the revision staying what it is.

mod admission;
mod create;
mod delete;
mod ownership;
mod restore;
mod update;

use std::sync::Arc;

use serde_json::Value;

use crate::core::Core;
use crate::crd::conversion;
use crate::http::query::Query;
use crate::identity::Caller;
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::store::durability::WriteFacts;
use crate::store::{CommitError, Durability, Expected, ObjectKey, Revision, Stored, Write};
use crate::value::{MAX_DEPTH, as_object, child_mut, is_deeper_than, str_at};

pub(crate) use admission::View;
pub(crate) use create::{create, drop_deletion};
pub(crate) use delete::{DeleteOptions, Deleted, Propagation, check_preconditions, delete};
pub(crate) use ownership::{Conversions, Next, Refused};
pub(crate) use restore::restore;
pub(crate) use update::update;

/// A stored object may have so many bytes: etcd's bound for a request, which users of Kubernetes know.
const MAX_OBJECT_BYTES: usize = 1536 << 10;

/// Who writes what, and how.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) core: &'a Core,
    pub(crate) caller: &'a Caller,
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) subresource: &'a str,
    /// Who owns what is written.
    pub(crate) manager: &'a str,
    pub(crate) is_dry_run: bool,
    /// What the request asks for besides.
    pub(crate) query: &'a Query,
    /// Whether webhooks have been asked already.
    pub(crate) is_admitted: bool,
    /// How webhooks see what is written, if it is not as it is.
    pub(crate) view: Option<&'a dyn View>,
    /// What has been converted for this write; none for those of the server itself, which change nothing that anybody owns in a custom object.
    pub(crate) conversions: Option<&'a Conversions>,
}

/// The owner of what the server itself writes.
pub(crate) const SERVER: &str = "kube-apiserver";

/// What a write left behind.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An object in the store.
    Stored(Arc<Stored>),
    /// An object that is not in the store: a dry run, or one that vanished by this write.
    Loose(Value),
}

/// A write that was accepted.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) outcome: Outcome,
    pub(crate) warnings: Vec<String>,
    pub(crate) is_created: bool,
}

impl Written {
    /// The object, in the version that was written.
    pub(crate) async fn value(&self, context: &Context<'_>) -> Result<Value> {
        match &self.outcome {
            Outcome::Stored(stored) => context.load(stored).await,
            Outcome::Loose(value) => Ok(value.clone()),
        }
    }
}

impl<'a> Context<'a> {
    /// The context of a write of the server itself.
    pub(crate) fn of_server(core: &'a Core, caller: &'a Caller, resource: &'a Resource, namespace: &'a str) -> Self {
        static NO_QUERY: Query = Query::none();
        Self {
            core,
            caller,
            resource,
            namespace,
            subresource: "",
            manager: SERVER,
            is_dry_run: false,
            query: &NO_QUERY,
            is_admitted: true,
            view: None,
            conversions: None,
        }
    }
}

impl Context<'_> {
    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.namespace, name)
    }

    /// # Errors
    /// 400 for an object that could be stored and then not be read.
    fn check_depth(&self, object: &Value) -> Result<()> {
        if !is_deeper_than(object, MAX_DEPTH) {
            return Ok(());
        }
        let (kind, name) = (&self.resource.kind, str_at(object, &["metadata", "name"]));
        Err(StatusError::bad_request(format!("{kind} \"{name}\" is nested more than {MAX_DEPTH} deep")))
    }

    fn durability(&self, old: Option<&Value>, new: Option<&Value>) -> Durability {
        self.core.lazy.durability(&WriteFacts {
            table: &self.resource.table,
            subresource: self.subresource,
            is_in_process: self.caller.is_in_process,
            old,
            new,
        })
    }

    /// A write of this resource that may be of any size.
    fn write_to(&self, key: ObjectKey, expected: Expected, durability: Durability) -> Write {
        let table = self.resource.table.clone();
        Write { table, key, expected, durability, is_deletion: false, max_bytes: usize::MAX }
    }

    /// Makes a write; a conflict comes back as it is, because whether it matters depends on who asked.
    async fn commit(&self, write: Write, object: Value) -> std::result::Result<Arc<Stored>, CommitError> {
        let converted = conversion::to_store(self.core, self.resource, object).await;
        let (object, kept) = converted.map_err(|error| CommitError::Unkept(error.message.into()))?;
        let kept = kept.as_deref().unwrap_or(self.resource);
        self.core.store.commit(write, kept.encode(object)).await
    }

    /// An object as the resource's version shows it.
    pub(crate) async fn load(&self, stored: &Arc<Stored>) -> Result<Value> {
        let shown = conversion::shown(self.core, self.resource, vec![Arc::clone(stored)]).await?;
        self.resource.load(shown.first().unwrap_or(stored))
    }

    /// Takes the object away; `object` is its last state.
    async fn commit_deletion(
        &self,
        key: ObjectKey,
        expected: Expected,
        object: &Value,
    ) -> std::result::Result<Arc<Stored>, CommitError> {
        let write = self.write_to(key, expected, self.durability(Some(object), None));
        self.commit(Write { is_deletion: true, ..write }, object.clone()).await
    }

    /// Waits until what was seen of an object is published, so that an answer may be given by it.
    ///
    /// # Errors
    /// 500 if the store has failed.
    async fn settle(&self, name: &str, unpublished: Option<Revision>) -> Result<()> {
        let Some(revision) = unpublished else { return Ok(()) };
        self.core.store.published(revision).await.map_err(|error| self.refusal(name, &error))
    }

    /// The refusal for a write that the store did not take.
    fn refusal(&self, name: &str, error: &CommitError) -> StatusError {
        let resource = self.resource;
        match error {
            CommitError::Exists => StatusError::already_exists(&resource.group, &resource.plural, name),
            CommitError::Missing => resource.not_found(name),
            CommitError::Conflict(_) => resource.modified(name),
            CommitError::NoTable => StatusError::no_such_resource(),
            CommitError::TooLarge(limit_bytes) => StatusError::too_large(*limit_bytes),
            CommitError::Unkept(why) => StatusError::new(500, "", why.as_ref()),
            CommitError::Failed(why) => StatusError::internal(&format!("the store has failed: {why}")),
        }
    }
}

/// Takes off what no stored object has any more.
fn take_self_link(object: &mut Value) -> Option<Value> {
    as_object(child_mut(object, "metadata")).remove("selfLink")
}

/// Reads the revision that an object is meant for as kube-apiserver does.
///
/// # Errors
/// 500 for one that is no number, as there.
pub(crate) fn check_revision(object: &Value) -> Result<()> {
    let given = str_at(object, &["metadata", "resourceVersion"]);
    if given.is_empty() || given.parse::<u64>().is_ok() {
        return Ok(());
    }
    let why = format!("strconv.ParseUint: parsing {}: invalid syntax", crate::field_error::quote(given));
    Err(StatusError::new(500, "", why))
}

/// # Errors
/// 400 if the body is for another namespace than the path.
fn match_namespace(resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
    let given = str_at(object, &["metadata", "namespace"]);
    if !given.is_empty() && given != namespace && resource.is_namespaced {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(StatusError::bad_request(message));
    }
    if resource.is_namespaced {
        as_object(child_mut(object, "metadata")).insert("namespace".to_owned(), namespace.into());
    }
    Ok(())
}
