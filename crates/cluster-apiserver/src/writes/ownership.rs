//! Whose the fields of an object are after a write: [`fields`](crate::fields) for a resource of this server.
//!
//! An object's managedFields are taken off before the steps of a write and put on after them, so that no step sees them and none can lose
//! them. What the server or an admission adds after the writer's own part belongs to nobody.

use std::sync::Arc;

use serde_json::Value;

use super::Context;
use crate::fields::{Applied, Conflicts, Managed, Ownership, Place, Reach, Versions, last_applied, managed};
use crate::registry::{Catalogue, Resource};
use crate::value::{as_object, at, str_at};

/// What a write makes of an object.
#[derive(Debug)]
pub(crate) enum Next {
    /// What differs from before becomes the writer's.
    Changed(Value),
    /// Its managedFields say already whose it is.
    Owned(Value),
}

/// Why an apply is not carried out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Others own what it would change.
    Conflicts(Conflicts),
    /// Whose the object is cannot be read.
    Unreadable(managed::Unreadable),
}

/// A resource in all its versions.
struct ResourceVersions<'a> {
    resource: &'a Resource,
    catalogue: Arc<Catalogue>,
}

impl ResourceVersions<'_> {
    fn find(&self, api_version: &str) -> Option<&Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resources = &self.catalogue.version(group, version)?.resources;
        resources.iter().find(|resource| resource.table == self.resource.table).map(AsRef::as_ref)
    }
}

impl Versions for ResourceVersions<'_> {
    fn place(&self, api_version: &str) -> Option<Place<'_>> {
        let is_written = api_version == self.resource.api_version;
        if is_written { self.resource.place() } else { self.find(api_version)?.place() }
    }

    fn convert(&self, object: &Value, to: &str) -> Value {
        let from = self.find(str_at(object, &["apiVersion"])).unwrap_or(self.resource);
        self.find(to).map_or_else(|| object.clone(), |to| to.in_version(&from.in_store(object)))
    }
}

/// Takes the managedFields off an object.
pub(super) fn take_fields(object: &mut Value) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("managedFields").filter(|list| !list.is_null())
}

/// Puts managedFields on an object.
pub(super) fn put_fields(object: &mut Value, list: Option<Value>) {
    if let Some(list) = list {
        as_object(crate::value::child_mut(object, "metadata")).insert("managedFields".to_owned(), list);
    }
}

impl Context<'_> {
    /// The managedFields of a new object; `given` are those that came with it.
    pub(super) fn fields_of_new(&self, object: &Value, given: Option<&Value>) -> Option<Value> {
        let managed = given.and_then(|given| Managed::parse(given).ok()).unwrap_or_default();
        self.owning(|ownership| ownership.update(&self.resource.empty(), object, managed)).to_value()
    }

    /// The managedFields of an object after a change; `before` are those of the old one, `given` those that came with the new one.
    pub(super) fn fields_of_changed(
        &self,
        old: &Value,
        new: &Value,
        before: Option<&Value>,
        given: Option<&Value>,
    ) -> Option<Value> {
        // A subresource writes its own part only.
        let given = given.filter(|_| self.subresource.is_empty());
        if given.is_some_and(managed::is_reset) {
            return None;
        }
        let given =
            given.and_then(|given| Some((given, Managed::parse(given).ok().filter(|given| !given.0.is_empty())?)));
        if old == new {
            return given.map(|(given, _)| given).or(before).cloned();
        }
        // Whoever leaves them out means that they stay.
        let managed = match (given, before) {
            (Some((_, given)), _) => given,
            (None, Some(before)) => Managed::parse(before).unwrap_or_default(),
            (None, None) => Managed::default(),
        };
        // Nobody is told of who was not known before.
        if managed.0.is_empty() {
            return None;
        }
        self.owning(|ownership| ownership.update(old, new, managed)).to_value()
    }

    /// Applies `config` to an object, which is `None` if it is to be created.
    ///
    /// # Errors
    /// Others own what would change, or whose it is cannot be read.
    pub(crate) fn apply(
        &self,
        live: Option<&Value>,
        config: &Value,
        is_forced: bool,
    ) -> std::result::Result<Value, Refused> {
        let empty = self.resource.empty();
        let mut live = live.cloned().unwrap_or_else(|| empty.clone());
        let managed = take_fields(&mut live).as_ref().map(Managed::parse).transpose().map_err(Refused::Unreadable)?;
        let managed = managed.unwrap_or_default();
        let apply =
            |is_forced| self.owning(|ownership| ownership.apply(&live, config, managed.clone(), &empty, is_forced));
        let is_kubectl = self.manager == last_applied::MANAGER;
        let applied = match apply(is_forced) {
            Err(conflicts) if is_kubectl => match self.others_conflicts(&live, conflicts) {
                conflicts if conflicts.is_empty() => apply(true),
                conflicts => Err(conflicts),
            },
            applied => applied,
        };
        let Applied { mut object, managed } = applied.map_err(Refused::Conflicts)?;
        if is_kubectl {
            last_applied::refresh(&mut object, config);
        }
        put_fields(&mut object, managed.to_value());
        Ok(object)
    }

    /// The conflicts that are not with what kubectl itself applied before servers could.
    fn others_conflicts(&self, live: &Value, mut conflicts: Conflicts) -> Conflicts {
        if let Some(own) = self.resource.place().and_then(|place| last_applied::fields(place, live)) {
            conflicts.values_mut().for_each(|set| *set = set.difference(&own));
            conflicts.retain(|_, set| !set.is_empty());
        }
        conflicts
    }

    fn owning<T>(&self, then: impl FnOnce(Ownership<'_>) -> T) -> T {
        let versions = ResourceVersions { resource: self.resource, catalogue: self.core.registry.catalogue() };
        then(Ownership {
            versions: &versions,
            api_version: &self.resource.api_version,
            reach: &self.reach(),
            manager: self.manager,
            subresource: self.subresource,
            now: &self.core.now_text(),
        })
    }

    fn reach(&self) -> Reach {
        self.resource.reach(self.subresource)
    }
}

/// Whether two objects, with managedFields beside them, are the same but for the times in those.
pub(super) fn is_same(old: &Value, before: Option<&Value>, new: &Value, after: Option<&Value>) -> bool {
    let same_fields = match (before, after) {
        (None, None) => true,
        (Some(before), Some(after)) => before == after || managed::is_same_but_times(before, after),
        _ => false,
    };
    same_fields && old == new
}

/// Whether an object has managedFields.
pub(super) fn has_fields(object: &Value) -> bool {
    at(object, &["metadata", "managedFields"]).is_some()
}
