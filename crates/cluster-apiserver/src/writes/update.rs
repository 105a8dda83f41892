//! Changing an object: PUT, PATCH, and every subresource that writes.

use std::sync::Arc;

use serde_json::Value;

use super::admission::Change;
use super::ownership::{Fields, Next, has_fields, put_fields, take_fields};
use super::{Context, MAX_OBJECT_BYTES, Outcome, Written, check_revision, match_namespace, take_self_link};
use crate::authz::escalation;
use crate::crd::conversion;
use crate::field_error::{FieldError, FieldReason};
use crate::status::{Result, StatusError};
use crate::store::{CommitError, Expected, Stored, Write};
use crate::value::{as_object, at, child_mut, i64_at, list_at, str_at};

/// How often a change is laid over a newer object before the writer is told of the conflict.
const ATTEMPTS: usize = 64;

/// Changes the object `name`: `transform` makes the new object out of the old one, again if somebody else was faster.
///
/// A new object that names a `resourceVersion` or a `uid` is meant for exactly that one.
///
/// # Errors
/// 404 if it is not there, 409 if it is not the one that was meant, and whatever stands between an object and the store.
pub(crate) async fn update(
    context: &Context<'_>,
    name: &str,
    transform: &mut (dyn FnMut(&Value) -> Result<Next> + Send),
) -> Result<Written> {
    let Context { core, resource, .. } = context;
    let key = context.key(name);
    let mut keeps_fields = true;
    for _ in 0..ATTEMPTS {
        let head = core.store.head(&resource.table, &key);
        let Some(stored) = head.object else {
            context.settle(name, head.unpublished).await?;
            return Err(resource.not_found(name));
        };
        let mut old = context.load(&stored).await?;
        let prepared = match context.with_conversions(|| transform(&old)).await {
            Ok(next) => {
                let fields = take_fields(&mut old);
                prepare(context, name, &old, fields, next).await
            }
            Err(refused) => Err(refused),
        };
        let Prepared { mut object, is_owned, warnings, fate, addresses: _addresses, taken: _taken } = match prepared {
            Ok(prepared) => prepared,
            Err(refused) => {
                context.settle(name, head.unpublished).await?;
                return Err(refused);
            }
        };
        if !keeps_fields {
            take_fields(&mut object);
        }
        let done = |outcome| Ok(Written { outcome, warnings, is_created: false });
        if fate == Fate::Unchanged && (context.is_dry_run || conversion::is_kept(core, resource, &stored)) {
            context.settle(name, head.unpublished).await?;
            return done(Outcome::Stored(stored));
        }
        if context.is_dry_run {
            return done(Outcome::Loose(conversion::tried(core, resource, object).await?));
        }
        if fate == Fate::Vanishes {
            // Watches see it as it was stored last.
            let last = context.load(&stored).await?;
            match context.commit_deletion(stored.key.clone(), Expected::At(stored.revision), &last).await {
                Ok(_) => return done(Outcome::Loose(object)),
                Err(CommitError::Conflict(_) | CommitError::Missing) => continue,
                Err(error) => return Err(context.refusal(name, &error)),
            }
        }
        let may_shrink = !is_owned && has_fields(&object);
        match commit(context, &stored, &old, object).await {
            Ok(stored) => return done(Outcome::Stored(stored)),
            // It may do without an account of its owners.
            Err(CommitError::TooLarge(_)) if may_shrink => keeps_fields = false,
            // Somebody else was faster: look again. Whether that is a conflict the transform's revision says.
            Err(CommitError::Conflict(_) | CommitError::Missing) => {}
            Err(error) => return Err(context.refusal(name, &error)),
        }
    }
    Err(resource.modified(name))
}

/// What becomes of a prepared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is what it was.
    Unchanged,
    /// It is stored.
    Changed,
    /// Its last finalizer is gone, and so is it.
    Vanishes,
}

struct Prepared {
    object: Value,
    /// Whether its managedFields came with it.
    is_owned: bool,
    warnings: Vec<String>,
    fate: Fate,
    /// Keeps others from taking the same addresses until the write is done.
    addresses: crate::admit::service_ip::Reservation,
    /// Keeps others from taking the same of a quota until the write is done.
    taken: crate::admit::quota::Reservation,
}

/// `old` is without its managedFields, which are `before`.
async fn prepare(
    context: &Context<'_>,
    name: &str,
    old: &Value,
    before: Option<Value>,
    next: Next,
) -> Result<Prepared> {
    let Context { core, resource, .. } = context;
    let (mut new, is_owned) = match next {
        Next::Changed(new) => (new, false),
        Next::Owned(new) => (new, true),
    };
    let given = take_fields(&mut new);
    resource.set_type(&mut new);
    let self_link = take_self_link(&mut new);
    match_names(context, name, &mut new)?;
    match_identity(context, name, old, &mut new)?;
    resource.default(&mut new);
    let fields = if is_owned {
        Fields::settled(before.as_ref(), given)
    } else {
        let fields = || Ok(context.fields_of_changed(old, &new, before.clone(), given.clone()));
        context.with_conversions(fields).await?
    };
    let change = Change { old: Some(old), fields: fields.list.as_ref(), old_fields: before.as_ref() };
    let mut warnings = Vec::new();
    let mut new = context.mutate(new, change, &mut warnings).await?;
    let addresses = core.service_ips.allocate(context, &mut new, Some(old))?;
    warnings.extend(resource.before_update(&mut new, old, context.subresource)?);
    escalation::check(&core.rbac, &context.caller.identity, resource, &new, Some(old))?;
    context.check_depth(&new)?;
    context.validate(&new, change, &mut warnings).await?;
    let taken = core.quotas.take(context, &new, Some(old)).await?;
    let mut fate = match fate(context, old, &new) {
        Fate::Vanishes => Fate::Vanishes,
        // What came with a selfLink, which is not kept, was another object: then times count.
        _ if !fields.differs && *old == new && (self_link.is_none() || fields.list == before) => Fate::Unchanged,
        _ => Fate::Changed,
    };
    // What is not stored is shown as it came.
    if let Some(self_link) = self_link.filter(|_| context.is_dry_run || fate == Fate::Vanishes) {
        as_object(child_mut(&mut new, "metadata")).insert("selfLink".to_owned(), self_link);
        if fate == Fate::Unchanged {
            fate = Fate::Changed;
        }
    }
    put_fields(&mut new, fields.list);
    Ok(Prepared { object: new, is_owned, warnings, fate, addresses, taken })
}

/// # Errors
/// 400 if the body is for another object than the path.
fn match_names(context: &Context<'_>, name: &str, new: &mut Value) -> Result<()> {
    let given = str_at(new, &["metadata", "name"]);
    if given.is_empty() {
        as_object(child_mut(new, "metadata")).insert("name".to_owned(), name.into());
    } else if given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(StatusError::bad_request(message));
    }
    match_namespace(context.resource, context.namespace, new)
}

/// # Errors
/// 409 if the new object is meant for another revision, 422 if it must say for which.
fn match_identity(context: &Context<'_>, name: &str, old: &Value, new: &mut Value) -> Result<()> {
    let resource = context.resource;
    let current = str_at(old, &["metadata", "resourceVersion"]);
    let given = str_at(new, &["metadata", "resourceVersion"]);
    if given.is_empty() || given == "0" {
        if !resource.allows_unconditional_update() {
            let error = FieldError {
                reason: FieldReason::Invalid,
                field: "metadata.resourceVersion".to_owned(),
                message: "Invalid value: 0: must be specified for an update".to_owned(),
            };
            return Err(StatusError::invalid(&resource.group, &resource.plural, name, &[error]));
        }
        as_object(child_mut(new, "metadata")).insert("resourceVersion".to_owned(), current.into());
        return Ok(());
    }
    if given == current {
        return Ok(());
    }
    check_revision(new)?;
    Err(resource.modified(name))
}

fn fate(context: &Context<'_>, old: &Value, new: &Value) -> Fate {
    let is_last_finalizer = !context.resource.is("", "namespaces")
        && list_at(new, &["metadata", "finalizers"]).is_empty()
        && i64_at(old, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default() == 0
        && at(old, &["metadata", "deletionTimestamp"]).is_some();
    if is_last_finalizer || is_finished_namespace(context, old, new) {
        return Fate::Vanishes;
    }
    Fate::Changed
}

/// Namespaces have finalizers of their own, in their spec, and no grace period.
fn is_finished_namespace(context: &Context<'_>, old: &Value, new: &Value) -> bool {
    context.resource.is("", "namespaces")
        && at(old, &["metadata", "deletionTimestamp"]).is_some()
        && list_at(new, &["spec", "finalizers"]).is_empty()
        && list_at(new, &["metadata", "finalizers"]).is_empty()
}

async fn commit(
    context: &Context<'_>,
    stored: &Stored,
    old: &Value,
    new: Value,
) -> std::result::Result<Arc<Stored>, CommitError> {
    let durability = context.durability(Some(old), Some(&new));
    let write = context.write_to(stored.key.clone(), Expected::At(stored.revision), durability);
    // One that is larger already may get smaller, or it could never end.
    let max_bytes = MAX_OBJECT_BYTES.max(stored.body.len());
    context.commit(Write { max_bytes, ..write }, new).await
}
