//! Deleting an object: at once, after its grace period, or when its finalizers are done.
//!
//! Specified by apiserver's `rest.BeforeDelete` and `registry.Store.Delete`. What keeps an object (grace, finalizers) is written into it; the
//! node, or whoever owns the finalizer, ends it later.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Context;
use crate::admit::namespace;
use crate::core::time_text;
use crate::registry::{CRD_TABLE, Resource};
use crate::status::{Result, StatusError};
use crate::store::{CommitError, Expected, Revision};
use crate::value::{as_object, at, child_mut, i64_at, list_at, object_at, str_at, strings_at};

const ATTEMPTS: usize = 64;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Foreground,
    Background,
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_s: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// An object that was deleted, or is being deleted.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// Its last state.
    pub(crate) object: Value,
    /// Whether it is gone already.
    pub(crate) is_gone: bool,
    pub(crate) warnings: Vec<String>,
}

/// Deletes the object `name`.
///
/// # Errors
/// 404 if it is not there, 409 if a precondition does not hold, 403 if it may not go.
pub(crate) async fn delete(context: &Context<'_>, name: &str, options: &DeleteOptions) -> Result<Deleted> {
    let Context { core, resource, .. } = context;
    namespace::check_delete(resource, name)?;
    let mut warnings = Vec::new();
    // Who sees the mark, as a node does, may remove the object before this does.
    let mut marked = None;
    for _ in 0..ATTEMPTS {
        let head = core.store.head(&resource.table, &context.key(name));
        let Some(stored) = head.object else {
            context.settle(name, head.unpublished).await?;
            let object = marked.ok_or_else(|| resource.not_found(name))?;
            return Ok(Deleted { object, is_gone: true, warnings });
        };
        let old = context.load(&stored).await?;
        if let Some(object) = marked.take_if(|marked| uid(marked) != uid(&old)) {
            // It has gone, and another has come.
            return Ok(Deleted { object, is_gone: true, warnings });
        }
        check_preconditions(resource, name, &old, options)?;
        context.admit_delete(&old, options, &mut warnings).await?;
        let plan = plan(resource, &old, options, core.clock.now());
        if context.is_dry_run {
            let (object, is_gone) = match plan {
                Plan::Keep => (old, false),
                Plan::Mark(marked) => (marked, false),
                Plan::MarkAndRemove(marked) => (marked, true),
                Plan::Remove => (old, true),
            };
            return Ok(Deleted { object, is_gone, warnings });
        }
        match carry_out(context, &stored, old, plan, &mut marked).await {
            Ok((object, is_gone)) => {
                context.settle(name, head.unpublished).await?;
                return Ok(Deleted { object, is_gone, warnings });
            }
            Err(CommitError::Conflict(_) | CommitError::Missing) => {}
            Err(error) => return Err(context.refusal(name, &error)),
        }
    }
    Err(resource.modified(name))
}

fn uid(object: &Value) -> &str {
    str_at(object, &["metadata", "uid"])
}

async fn carry_out(
    context: &Context<'_>,
    stored: &crate::store::Stored,
    old: Value,
    plan: Plan,
    marked_for_removal: &mut Option<Value>,
) -> std::result::Result<(Value, bool), CommitError> {
    let (key, expected) = (stored.key.clone(), Expected::At(stored.revision));
    match plan {
        Plan::Keep => Ok((old, false)),
        Plan::Remove => Ok((gone(context.commit_deletion(key, expected, &old).await?.revision, old), true)),
        Plan::Mark(marked) | Plan::MarkAndRemove(marked) if old == marked => Ok((marked, false)),
        Plan::Mark(marked) => {
            let object = mark(context, stored, &old, marked).await?;
            Ok((object, false))
        }
        Plan::MarkAndRemove(marked) => {
            let object = mark(context, stored, &old, marked).await?;
            let at = str_at(&object, &["metadata", "resourceVersion"]).parse().unwrap_or_default();
            *marked_for_removal = Some(object.clone());
            let gone_at = context.commit_deletion(key, Expected::At(Revision(at)), &object).await?.revision;
            Ok((gone(gone_at, object), true))
        }
    }
}

/// The last state of an object, which has the revision of its end.
fn gone(at: Revision, mut object: Value) -> Value {
    object_at(&mut object, &["metadata"]).insert("resourceVersion".to_owned(), at.to_string().into());
    object
}

async fn mark(
    context: &Context<'_>,
    stored: &crate::store::Stored,
    old: &Value,
    marked: Value,
) -> std::result::Result<Value, CommitError> {
    let durability = context.durability(Some(old), Some(&marked));
    let mut object = marked.clone();
    // A mark is not refused for its size: whatever could be stored can be deleted.
    let write = context.write_to(stored.key.clone(), Expected::At(stored.revision), durability);
    let written = context.commit(write, marked).await?;
    as_object(child_mut(&mut object, "metadata"))
        .insert("resourceVersion".to_owned(), written.revision.to_string().into());
    Ok(object)
}

/// # Errors
/// 409 if it is another object, or another version of it, that is meant.
pub(crate) fn check_preconditions(resource: &Resource, name: &str, old: &Value, options: &DeleteOptions) -> Result<()> {
    let uid = uid(old);
    if let Some(given) = options.uid.as_deref().filter(|given| *given != uid) {
        let why = format!(
            "the UID in the precondition ({given}) does not match the UID in record ({uid}). \
             The object might have been deleted and then recreated"
        );
        return Err(StatusError::conflict(&resource.group, &resource.kind, name, &why));
    }
    let revision = str_at(old, &["metadata", "resourceVersion"]);
    if let Some(given) = options.resource_version.as_deref().filter(|given| *given != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({given}) does not match the ResourceVersion in record ({revision}). \
             The object might have been modified"
        );
        return Err(StatusError::conflict(&resource.group, &resource.kind, name, &why));
    }
    Ok(())
}

/// What a delete comes to.
#[derive(Debug, PartialEq)]
enum Plan {
    /// It is being deleted already.
    Keep,
    /// It stays, marked as being deleted.
    Mark(Value),
    /// It is marked, so that watches see how it ended, and goes.
    MarkAndRemove(Value),
    /// It goes.
    Remove,
}

fn plan(resource: &Resource, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    if resource.is("", "namespaces") {
        return plan_namespace(resource, old, options, now);
    }
    if resource.table.as_str() == CRD_TABLE {
        return plan_definition(old, now);
    }
    let mut object = old.clone();
    let grace = match graceful(resource, &mut object, options, now) {
        Grace::Pending => return Plan::Keep,
        Grace::None => None,
        Grace::Seconds(seconds) => Some(seconds),
    };
    set_dependents_finalizer(resource, &mut object, options);
    let is_held = !list_at(&object, &["metadata", "finalizers"]).is_empty();
    match (grace, is_held) {
        (Some(0), false) => Plan::MarkAndRemove(object),
        (Some(_), _) => Plan::Mark(object),
        (None, true) => {
            mark_as_deleting(&mut object, now);
            Plan::Mark(object)
        }
        (None, false) => Plan::Remove,
    }
}

enum Grace {
    /// It was asked to end before; nothing new.
    Pending,
    /// Its kind does not end gracefully, or its grace is over.
    None,
    /// It has so long from now, and its metadata says so.
    Seconds(i64),
}

fn graceful(resource: &Resource, object: &mut Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    let Some(period_s) = resource.grace_period_s(object, options.grace_period_s) else { return Grace::None };
    if let Some(deletion) = at(object, &["metadata", "deletionTimestamp"]).and_then(Value::as_str) {
        let pending_s = i64_at(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
        // The period may only get shorter.
        return match options.grace_period_s {
            _ if pending_s == 0 => Grace::None,
            Some(_) if period_s < pending_s => {
                let deletion = deletion.parse::<Timestamp>().unwrap_or(now);
                set_deletion(object, shift(deletion, period_s - pending_s), period_s);
                Grace::Seconds(period_s)
            }
            _ => Grace::Pending,
        };
    }
    bump_generation(object);
    set_deletion(object, shift(now, period_s), period_s);
    Grace::Seconds(period_s)
}

fn shift(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

fn set_deletion(object: &mut Value, time: Timestamp, period_s: i64) {
    let metadata = object_at(object, &["metadata"]);
    metadata.insert("deletionTimestamp".to_owned(), time_text(time).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), period_s.into());
}

fn bump_generation(object: &mut Value) {
    if let Some(generation) = i64_at(object, &["metadata", "generation"]).filter(|generation| *generation > 0) {
        object_at(object, &["metadata"]).insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Marks an object of a kind without grace, which its finalizers keep.
fn mark_as_deleting(object: &mut Value, now: Timestamp) {
    if i64_at(object, &["metadata", "deletionGracePeriodSeconds"]).is_none() {
        bump_generation(object);
    }
    let deletion = at(object, &["metadata", "deletionTimestamp"]).and_then(Value::as_str);
    let is_past = deletion.and_then(|text| text.parse::<Timestamp>().ok()).is_some_and(|time| time <= now);
    let metadata = object_at(object, &["metadata"]);
    if !is_past {
        metadata.insert("deletionTimestamp".to_owned(), time_text(now).into());
    }
    metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
}

/// Sets the finalizer by which the garbage collector learns what to do with dependents.
fn set_dependents_finalizer(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    let finalizers = strings_at(object, &["metadata", "finalizers"]);
    let has = |name: &str| finalizers.contains(&name);
    let propagation = match (options.orphan_dependents, options.propagation) {
        (Some(true), _) => Propagation::Orphan,
        (Some(false), _) => Propagation::Background,
        (None, Some(propagation)) => propagation,
        (None, None) if has(ORPHAN) => Propagation::Orphan,
        (None, None) if has(FOREGROUND) => Propagation::Foreground,
        (None, None) if resource.orphans_by_default() => Propagation::Orphan,
        (None, None) => Propagation::Background,
    };
    let wanted = match propagation {
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Background => None,
    };
    let others = finalizers.iter().copied().filter(|name| *name != ORPHAN && *name != FOREGROUND);
    let list: Vec<String> = others.chain(wanted).map(str::to_owned).collect();
    let is_same = list.iter().map(String::as_str).eq(finalizers.iter().copied());
    if is_same {
        return;
    }
    let metadata = object_at(object, &["metadata"]);
    if list.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(list));
    }
}

/// A namespace ends when its contents are gone, which its own finalizer says.
fn plan_namespace(resource: &Resource, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let mut object = old.clone();
    set_dependents_finalizer(resource, &mut object, options);
    let is_held = !list_at(&object, &["spec", "finalizers"]).is_empty()
        || !list_at(&object, &["metadata", "finalizers"]).is_empty();
    if !is_held {
        return Plan::Remove;
    }
    let metadata = object_at(&mut object, &["metadata"]);
    metadata.entry("deletionTimestamp").or_insert_with(|| time_text(now).into());
    object_at(&mut object, &["status"]).insert("phase".to_owned(), "Terminating".into());
    Plan::Mark(object)
}

/// A CRD ends when its instances are gone; the server itself sees to it.
fn plan_definition(old: &Value, now: Timestamp) -> Plan {
    let mut object = old.clone();
    let is_marked = at(old, &["metadata", "deletionTimestamp"]).is_some();
    if is_marked {
        return if list_at(old, &["metadata", "finalizers"]).is_empty() { Plan::Remove } else { Plan::Keep };
    }
    let mut finalizers =
        strings_at(old, &["metadata", "finalizers"]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    if !finalizers.iter().any(|name| name == crate::crd::CLEANUP_FINALIZER) {
        finalizers.push(crate::crd::CLEANUP_FINALIZER.to_owned());
    }
    let metadata = object_at(&mut object, &["metadata"]);
    metadata.insert("deletionTimestamp".to_owned(), time_text(now).into());
    metadata.insert("finalizers".to_owned(), json!(finalizers));
    crate::crd::set_condition(
        &mut object,
        now,
        &crate::crd::Condition {
            kind: "Terminating",
            status: "True",
            reason: "InstanceDeletionPending",
            message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon".to_owned(),
        },
    );
    Plan::Mark(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    const NOW: &str = "2024-01-01T00:00:00Z";

    fn plan_of(plural: &str, object: Value, options: &DeleteOptions) -> Plan {
        let kind = kinds::find("", "v1", plural).expect("kind");
        plan(&Resource::builtin(kind), &object, options, NOW.parse().expect("time"))
    }

    #[test]
    fn a_plain_object_goes_at_once_unless_something_holds_it() {
        let none = DeleteOptions::default();
        assert_eq!(plan_of("configmaps", json!({"metadata": {"name": "a"}}), &none), Plan::Remove);
        let held = json!({"metadata": {"name": "a", "generation": 1, "finalizers": ["x.io/f"]}});
        let marked = json!({"metadata": {
            "name": "a", "generation": 2, "finalizers": ["x.io/f"], "deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0,
        }});
        assert_eq!(plan_of("configmaps", held, &none), Plan::Mark(marked.clone()));
        assert_eq!(plan_of("configmaps", marked.clone(), &none), Plan::Mark(marked));
    }

    #[test]
    fn dependents_are_told_by_a_finalizer() {
        let finalizers = |propagation, before: &[&str]| {
            let options = DeleteOptions { propagation, ..DeleteOptions::default() };
            match plan_of("configmaps", json!({"metadata": {"finalizers": before}}), &options) {
                Plan::Mark(object) => object["metadata"]["finalizers"].to_string(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(finalizers(Some(Propagation::Foreground), &["a/b"]), "[\"a/b\",\"foregroundDeletion\"]");
        assert_eq!(finalizers(Some(Propagation::Orphan), &["foregroundDeletion"]), "[\"orphan\"]");
        assert_eq!(finalizers(Some(Propagation::Background), &["orphan"]), "Remove");
        assert_eq!(finalizers(None, &["orphan"]), "[\"orphan\"]");
    }

    #[test]
    fn a_namespace_ends_by_its_own_finalizer() {
        let none = DeleteOptions::default();
        let object =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Plan::Mark(marked) = plan_of("namespaces", object, &none) else { panic!("kept") };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(marked["metadata"]["deletionTimestamp"], NOW);
        assert!(marked["metadata"].get("deletionGracePeriodSeconds").is_none());
    }
}
