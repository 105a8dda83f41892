//! Creating an object.

use serde_json::Value;

use super::admission::Change;
use super::ownership::{Next, has_fields, put_fields, take_fields};
use super::{Context, MAX_OBJECT_BYTES, Outcome, Written, match_namespace, take_self_link};
use crate::admit::namespace;
use crate::authz::escalation;
use crate::crd::conversion;
use crate::status::{Result, StatusError};
use crate::store::{CommitError, Expected, Stored, Write};
use crate::value::{as_object, at, child_mut, str_at};

/// How often a name is generated anew when it is taken.
const GENERATE_ATTEMPTS: usize = 8;

/// Creates an object out of a decoded body, or of what an apply to nothing made.
///
/// # Errors
/// Whatever stands between a body and the store.
pub(crate) async fn create(context: &Context<'_>, next: Next) -> Result<Written> {
    let Context { core, resource, .. } = context;
    let (mut object, is_owned) = match next {
        Next::Changed(object) => (object, false),
        Next::Owned(object) => (object, true),
    };
    let given = take_fields(&mut object);
    match_namespace(resource, context.namespace, &mut object)?;
    resource.set_type(&mut object);
    take_self_link(&mut object);
    namespace::check_create(&core.store, resource, context.namespace, str_at(&object, &["metadata", "name"]))?;
    resource.default(&mut object);
    let fields = if is_owned {
        given
    } else {
        context.with_conversions(|| Ok(context.fields_of_new(&object, given.as_ref()))).await?
    };
    let change = Change { old: None, fields: fields.as_ref(), old_fields: None };
    let mut warnings = Vec::new();
    let mut object = context.mutate(object, change, &mut warnings).await?;
    match_namespace(resource, context.namespace, &mut object)?;
    let has_revision = str_at(&object, &["metadata", "resourceVersion"]).parse::<u64>().is_ok_and(|at| at > 0);
    let is_generated = fill_metadata(context, &mut object);
    let _addresses = core.service_ips.allocate(context, &mut object, None)?;
    warnings.extend(resource.before_create(&mut object)?);
    escalation::check(&core.rbac, &context.caller.identity, resource, &object, None)?;
    context.check_depth(&object)?;
    context.validate(&object, change, &mut warnings).await?;
    let _taken = core.quotas.take(context, &object, None).await?;
    // An apply to nothing may name any.
    if has_revision && !is_owned {
        return Err(StatusError::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    put_fields(&mut object, fields);
    let outcome = if context.is_dry_run {
        try_create(context, object).await.map(Outcome::Loose)
    } else {
        store(context, object, is_generated, is_owned).await
    };
    match outcome {
        Ok(outcome) => Ok(Written { outcome, warnings, is_created: true }),
        Err(refused) => Err(refused.with_warnings(&warnings)),
    }
}

/// What is made is not being deleted, whatever it says. Who sent it owns these fields all the same, unless it was a POST, of which they are
/// dropped before.
pub(crate) fn drop_deletion(object: &mut Value) {
    let metadata = as_object(child_mut(object, "metadata"));
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(name);
    }
}

/// The refusal for a name that is taken; it may soon be free. `has_base`: whether a name could have been generated.
fn taken(context: &Context<'_>, name: &str, has_base: bool, existing: Option<&Stored>) -> StatusError {
    let mut refused = context.refusal(name, &CommitError::Exists);
    if has_base {
        refused.message.push_str(", the server was not able to generate a unique name for the object");
        if let Some(details) = &mut refused.details {
            details.retry_after_seconds = Some(1);
        }
    }
    let existing = existing.and_then(|stored| context.resource.load(stored).ok());
    if existing.is_some_and(|object| at(&object, &["metadata", "deletionTimestamp"]).is_some()) {
        refused.message.insert_str(0, "object is being deleted: ");
    }
    refused
}

/// Sets what the server sets; answers whether the name was generated.
fn fill_metadata(context: &Context<'_>, object: &mut Value) -> bool {
    let core = context.core;
    drop_deletion(object);
    let metadata = as_object(child_mut(object, "metadata"));
    metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), core.entropy.uid().into());
    metadata.insert("creationTimestamp".to_owned(), core.now_text().into());
    if !context.resource.is_namespaced && metadata.get("namespace").and_then(Value::as_str) == Some("") {
        metadata.remove("namespace");
    }
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_generated = text("name").is_empty() && !text("generateName").is_empty();
    if is_generated {
        let name = core.entropy.name(text("generateName"));
        metadata.insert("name".to_owned(), name.into());
    }
    is_generated
}

fn has_base(object: &Value) -> bool {
    !str_at(object, &["metadata", "generateName"]).is_empty()
}

/// A dry run: all but the write.
async fn try_create(context: &Context<'_>, object: Value) -> Result<Value> {
    let name = str_at(&object, &["metadata", "name"]);
    let head = context.core.store.head(&context.resource.table, &context.key(name));
    match head.object {
        Some(existing) => Err(taken(context, name, has_base(&object), Some(&existing))),
        None => conversion::tried(context.core, context.resource, object).await,
    }
}

/// Stores it; under another name if the generated one is taken, and without its managedFields if it is too large with them.
async fn store(context: &Context<'_>, mut object: Value, is_generated: bool, is_owned: bool) -> Result<Outcome> {
    let durability = context.durability(None, Some(&object));
    let mut attempt = 1;
    loop {
        let name = str_at(&object, &["metadata", "name"]).to_owned();
        let write = context.write_to(context.key(&name), Expected::Absent, durability);
        match context.commit(Write { max_bytes: MAX_OBJECT_BYTES, ..write }, object.clone()).await {
            Ok(stored) => return Ok(Outcome::Stored(stored)),
            Err(CommitError::Exists) if is_generated && attempt < GENERATE_ATTEMPTS => {
                attempt += 1;
                let base = str_at(&object, &["metadata", "generateName"]);
                let name = context.core.entropy.name(base);
                as_object(child_mut(&mut object, "metadata")).insert("name".to_owned(), name.into());
            }
            Err(CommitError::TooLarge(_)) if !is_owned && has_fields(&object) => drop(take_fields(&mut object)),
            Err(CommitError::Exists) => {
                // What is in the way may not be durable yet; the answer waits until it is.
                let head = context.core.store.head(&context.resource.table, &context.key(&name));
                context.settle(&name, head.unpublished).await?;
                return Err(taken(context, &name, has_base(&object), head.object.as_deref()));
            }
            Err(error) => return Err(context.refusal(&name, &error)),
        }
    }
}
