//! Keeps the status of CRDs true, and ends those that are being deleted.
//!
//! One task watches the table of CRDs. A pass looks at all of them, so it does not matter what woke it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase, TaskError};
use serde_json::Value;

use super::definition::Names;
use super::{CLEANUP_FINALIZER, status};
use crate::core::Core;
use crate::identity::Caller;
use crate::registry::{CRD_TABLE, Resource};
use crate::status::Result;
use crate::store::{ObjectKey, Revision, Snapshot, Stored, TableName};
use crate::value::{at, list_at, object_at, str_at, strings_at};
use crate::writes::{Context, DeleteOptions, Next, delete, update};

/// How often a CRD is looked at whose instances take their time to end.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the shutdown.
pub(crate) async fn run(core: Arc<Core>) -> std::result::Result<(), TaskError> {
    let table = TableName::from(CRD_TABLE);
    let (_, mut watcher) = core.store.list_and_watch(&table, "");
    let shutdown = core.tasks.shutdown().clone();
    let mut known = Known::new();
    loop {
        // Everything up to here is looked at by the pass that follows; falling behind is no loss.
        let _ = watcher.poll();
        let is_waiting = pass(&core, &mut known).await;
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => return Ok(()),
            is_there = watcher.changed() => if !is_there { return Ok(()) },
            () = tokio::time::sleep(RECHECK_INTERVAL), if is_waiting => {}
        }
    }
}

/// What is known of a CRD that nothing has to be done about until it changes.
struct Settled {
    revision: Revision,
    group: String,
    /// The names that it holds.
    accepted: Names,
    /// Whether those are all that it asks for.
    is_accepted: bool,
}

/// What earlier passes have settled.
type Known = BTreeMap<ObjectKey, Settled>;

/// Looks at every CRD that is not settled; answers whether one is to be looked at again before long.
async fn pass(core: &Core, known: &mut Known) -> bool {
    let Some(resource) = core.registry.builtin("apiextensions.k8s.io", "customresourcedefinitions") else {
        return false;
    };
    let mut is_waiting = false;
    let Snapshot { objects, .. } = core.store.list(&resource.table, "");
    known.retain(|key, _| objects.binary_search_by(|stored| stored.key.cmp(key)).is_ok());
    for stored in &objects {
        // One that fails does not keep the others from being served.
        is_waiting |= !settle(core, resource, known, stored).await.unwrap_or_else(|error| {
            tracing::warn!(name = stored.key.name(), %error, "a custom resource definition could not be settled");
            false
        });
    }
    is_waiting
}

/// Whether nothing is left to do about a CRD until it changes; does it.
async fn settle(core: &Core, resource: &Resource, known: &mut Known, stored: &Stored) -> Result<bool> {
    let before = known.get(&stored.key);
    if before.is_some_and(|settled| settled.revision == stored.revision && settled.is_accepted) {
        return Ok(true);
    }
    let crd = resource.load(stored)?;
    if at(&crd, &["metadata", "deletionTimestamp"]).is_some() {
        return end(core, resource, &crd).await;
    }
    let group = str_at(&crd, &["spec", "group"]).to_owned();
    let others = known.iter().filter(|(key, other)| **key != stored.key && other.group == group);
    let others = others.map(|(_, other)| other.accepted.clone());
    let others: Vec<Names> = core.registry.builtin_names(&group).chain(others).collect();
    let now = status::desired(&crd, &others, core.clock.now());
    if now != crd {
        let mut set = |old: &Value| Ok(Next::Changed(status::desired(old, &others, core.clock.now())));
        write(core, resource, &crd, "status", &mut set).await?;
    }
    let is_accepted = super::has_condition(&now, "NamesAccepted");
    let accepted = Names::accepted(&now);
    let revision = core.store.get(&resource.table, &stored.key).map(|stored| stored.revision).unwrap_or_default();
    known.insert(stored.key.clone(), Settled { revision, group, accepted, is_accepted });
    Ok(true)
}

/// Deletes the instances, and lets go of the CRD when they are gone, which is the answer.
async fn end(core: &Core, resource: &Resource, crd: &Value) -> Result<bool> {
    if !strings_at(crd, &["metadata", "finalizers"]).contains(&CLEANUP_FINALIZER) {
        return Ok(true);
    }
    let names = Names::of(crd);
    let table = names.table();
    let mut begin = |old: &Value| Ok(Next::Changed(status::ending(old, core.clock.now())));
    if status::ending(crd, core.clock.now()) != *crd {
        write(core, resource, crd, "status", &mut begin).await?;
    }
    if !delete_instances(core, &names).await? {
        return Ok(false);
    }
    let mut release = |old: &Value| {
        let mut new = old.clone();
        let finalizers = list_at(old, &["metadata", "finalizers"]);
        let rest: Vec<Value> =
            finalizers.iter().filter(|name| name.as_str() != Some(CLEANUP_FINALIZER)).cloned().collect();
        let metadata = object_at(&mut new, &["metadata"]);
        if rest.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), rest.into());
        }
        Ok(Next::Changed(new))
    };
    write(core, resource, crd, "", &mut release).await?;
    core.store.drop_table(&table);
    Ok(true)
}

/// Whether no instance is left; those with finalizers take their time.
async fn delete_instances(core: &Core, names: &Names) -> Result<bool> {
    let catalogue = core.registry.catalogue();
    let Some(resource) = instance_resource(&catalogue, names) else { return Ok(true) };
    let caller = Caller::server();
    let mut is_empty = true;
    for stored in core.store.list(&names.table(), "").objects {
        let namespace = stored.key.namespace();
        let context = Context::of_server(core, &caller, resource, namespace);
        match delete(&context, stored.key.name(), &DeleteOptions::default()).await {
            Ok(deleted) => is_empty &= deleted.is_gone,
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(is_empty)
}

/// The version that needs no webhook, if that matters.
fn instance_resource<'a>(catalogue: &'a crate::registry::Catalogue, names: &Names) -> Option<&'a Resource> {
    let versions = &catalogue.group(&names.group)?.versions;
    let mut resources = versions.iter().flat_map(|version| &version.resources);
    let resource = resources.find(|resource| resource.plural == names.plural)?;
    Some(catalogue.storage(resource).unwrap_or(resource))
}

async fn write(
    core: &Core,
    resource: &Resource,
    crd: &Value,
    subresource: &str,
    transform: &mut (dyn FnMut(&Value) -> Result<Next> + Send),
) -> Result<()> {
    let caller = Caller::server();
    let context = Context { subresource, ..Context::of_server(core, &caller, resource, "") };
    match update(&context, str_at(crd, &["metadata", "name"]), transform).await {
        // It went away meanwhile.
        Err(error) if error.code == 404 => Ok(()),
        written => written.map(|_| ()),
    }
}

/// Whether a CRD is served or has been refused its names, or is not there.
pub(crate) fn has_settled(core: &Core, name: &str) -> bool {
    let Some(stored) = core.store.get(&TableName::from(CRD_TABLE), &ObjectKey::from(name)) else { return true };
    let crd: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
    !list_at(&crd, &["status", "conditions"]).is_empty()
}
