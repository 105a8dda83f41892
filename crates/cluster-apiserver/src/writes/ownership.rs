//! Whose the fields of an object are after a write: [`fields`](crate::fields) for a resource of this server.
//!
//! An object's managedFields are taken off before the steps of a write and put on after them, so that no step sees them and none can lose
//! them. What the server or an admission adds after the writer's own part belongs to nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::Context;
use crate::crd::{Conversion, conversion};
use crate::fields::{Applied, Conflicts, Managed, Ownership, Place, Reach, Updated, Versions, last_applied, managed};
use crate::registry::{Catalogue, Resource};
use crate::status::Result;
use crate::value::{as_object, at, str_at};

/// What a write makes of an object.
#[derive(Debug)]
pub(crate) enum Next {
    /// What differs from before becomes the writer's.
    Changed(Value),
    /// Its managedFields say already whose it is.
    Owned(Value),
}

/// The managedFields of an object after a write.
pub(super) struct Fields {
    pub(super) list: Option<Value>,
    /// Whether more than times differ from before.
    pub(super) differs: bool,
}

impl Fields {
    /// Those that came with the object.
    pub(super) fn settled(before: Option<&Value>, after: Option<Value>) -> Self {
        let differs = match (before, &after) {
            (None, None) => false,
            (Some(before), Some(after)) => !managed::is_same_but_times(before, after),
            _ => true,
        };
        Self { list: after, differs }
    }
}

/// Why an apply is not carried out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Others own what it would change.
    Conflicts(Conflicts),
    /// Whose the object is cannot be read.
    Unreadable(managed::Unreadable),
}

/// Objects in other versions, as far as a webhook had to convert them to find whose their fields are.
///
/// Who owns what is found at once, and a webhook takes its time: what is missed is noted, converted, and everything is found again.
#[derive(Debug, Default)]
pub(crate) struct Conversions(Mutex<Converted>);

#[derive(Debug, Default)]
struct Converted {
    known: Vec<(Value, String, Value)>,
    missed: Vec<(Value, String)>,
}

impl Conversions {
    fn lock(&self) -> MutexGuard<'_, Converted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object in another version; itself until that is known.
    fn get(&self, object: &Value, to: &str) -> Value {
        let mut converted = self.lock();
        let known = converted.known.iter().find(|(from, version, _)| version == to && from == object);
        if let Some((_, _, known)) = known {
            return known.clone();
        }
        converted.missed.push((object.clone(), to.to_owned()));
        object.clone()
    }
}

/// A resource in all its versions.
struct ResourceVersions<'a> {
    resource: &'a Resource,
    catalogue: Arc<Catalogue>,
    conversions: Option<&'a Conversions>,
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
        if self.catalogue.conversion(self.resource).is_some_and(Conversion::has_webhook) {
            return self.conversions.map_or_else(|| object.clone(), |conversions| conversions.get(object, to));
        }
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
        self.owning(|ownership| ownership.update(&self.resource.empty(), object, managed)).managed.into_value()
    }

    /// The managedFields of an object after a change; `before` are those of the old one, `given` those that came with the new one.
    pub(super) fn fields_of_changed(
        &self,
        old: &Value,
        new: &Value,
        before: Option<Value>,
        given: Option<Value>,
    ) -> Fields {
        // A subresource writes its own part only; and whoever leaves them out, or sends them back, means that they stay.
        let given = given.filter(|given| self.subresource.is_empty() && before.as_ref() != Some(given));
        if given.as_ref().is_some_and(managed::is_reset) {
            return Fields::settled(before.as_ref(), None);
        }
        let given = given.and_then(|given| Managed::parse(&given).ok()).filter(|given| !given.0.is_empty());
        if let Some(given) = given {
            let after = self.owning(|ownership| ownership.update(old, new, given)).managed.into_value();
            return Fields::settled(before.as_ref(), after);
        }
        // Nobody is told of where nobody was known before.
        let Some(before) = before else { return Fields { list: None, differs: false } };
        if old == new {
            return Fields { list: Some(before), differs: false };
        }
        let before = Managed::stored(before);
        let order = before.order();
        let Updated { managed, differs } = self.owning(|ownership| ownership.update(old, new, before));
        // As kube-apiserver compares them one by one, one that moves because it is newer differs too.
        let differs = differs || managed.order() != order;
        Fields { list: managed.into_value(), differs }
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
        put_fields(&mut object, managed.into_value());
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

    /// The result of `find` once everything is converted that it asks for.
    ///
    /// # Errors
    /// Its own, or something cannot be converted.
    pub(crate) async fn with_conversions<T>(&self, mut find: impl FnMut() -> Result<T> + Send) -> Result<T> {
        let Some(conversions) = self.conversions else { return find() };
        loop {
            let found = find();
            let missed = std::mem::take(&mut conversions.lock().missed);
            if missed.is_empty() {
                return found;
            }
            drop(found);
            for (object, to) in missed {
                let converted = self.converted(&object, &to).await?;
                conversions.lock().known.push((object, to, converted));
            }
        }
    }

    async fn converted(&self, object: &Value, to: &str) -> Result<Value> {
        let catalogue = self.core.registry.catalogue();
        let (group, version) = to.split_once('/').unwrap_or(("", to));
        match catalogue.find(group, version, &self.resource.plural) {
            Some(to) => conversion::convert(self.core, object, to).await,
            None => Ok(object.clone()),
        }
    }

    fn owning<T>(&self, then: impl FnOnce(Ownership<'_>) -> T) -> T {
        let versions = ResourceVersions {
            resource: self.resource,
            catalogue: self.core.registry.catalogue(),
            conversions: self.conversions,
        };
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

/// Whether an object has managedFields.
pub(super) fn has_fields(object: &Value) -> bool {
    at(object, &["metadata", "managedFields"]).is_some()
}
