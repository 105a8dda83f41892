//! Who owns what after a write: whoever changes a field owns it.
//!
//! ```text
//! update: what differs → the writer's entry, out of all others; what went away → out of all
//! ```
//! Specified by structured-merge-diff's `merge.Updater` and the managers around it in apimachinery's `managedfields`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::element::Element;
use super::managed::{Managed, Manager, Operation, Owned};
use super::schema::Place;
use super::set::FieldSet;

/// What a kind looks like in each of its versions.
pub(crate) trait Versions {
    /// The type in a version, `None` if it is not served any more.
    fn place(&self, api_version: &str) -> Option<Place<'_>>;

    /// An object in another version.
    fn convert(&self, object: &Value, to: &str) -> Value;
}

/// A kind with one version.
pub(crate) struct OneVersion<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) api_version: &'a str,
}

impl Versions for OneVersion<'_> {
    fn place(&self, api_version: &str) -> Option<Place<'_>> {
        (api_version == self.api_version).then_some(self.place)
    }

    fn convert(&self, object: &Value, _to: &str) -> Value {
        object.clone()
    }
}

/// Which fields a write may change at all: what is reset is nobody's by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All but these and what is below them.
    Without(FieldSet),
    /// These and what is below them; an element is one of a list if its name is `*`.
    Only(&'static [&'static [&'static str]]),
}

impl Reach {
    fn filter(&self, set: &FieldSet) -> FieldSet {
        match self {
            Self::Without(reset) if reset.is_empty() => set.clone(),
            Self::Without(reset) => set.recursive_difference(reset),
            Self::Only(paths) => only(set, paths),
        }
    }
}

fn only(set: &FieldSet, paths: &[&[&str]]) -> FieldSet {
    let mut kept = FieldSet::default();
    for node in set.nodes() {
        let fits = |name: &str| name == "*" || node.element == Element::field(name);
        let rest: Vec<&[&str]> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| fits(first))
            .map(|(_, rest)| rest)
            .collect();
        if rest.is_empty() {
            continue;
        }
        let below = if rest.iter().any(|rest| rest.is_empty()) { node.below.clone() } else { only(&node.below, &rest) };
        kept.put(node.element.clone(), node.is_member, below);
    }
    kept
}

/// A write, as far as ownership goes.
pub(crate) struct Ownership<'a> {
    pub(crate) versions: &'a dyn Versions,
    /// The version that is written.
    pub(crate) api_version: &'a str,
    pub(crate) reach: &'a Reach,
    pub(crate) manager: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) now: &'a str,
}

/// What a change takes from a manager.
struct Taken {
    /// What it owned of what changes.
    changed: FieldSet,
    /// All that goes away.
    removed: FieldSet,
}

impl Ownership<'_> {
    /// Who owns what after an update from `old` to `new`, neither of which contains managedFields.
    pub(crate) fn update(&self, old: &Value, new: &Value, managed: Managed) -> Managed {
        let Some(difference) = self.difference(self.api_version, old, new) else { return managed };
        let mut managed = managed;
        // A change of nothing leaves all as it is; versions do not matter then.
        if !difference.is_empty() {
            let taken = self.taken(&difference, old, new, &mut managed);
            give_up(&mut managed, &taken);
        }
        let changed = self.reach.filter(&difference.changed()).difference(&never_owned());
        if !changed.is_empty() {
            let manager = Manager::new(self.manager, Operation::Update, self.api_version, self.subresource);
            let before = managed.0.remove(&manager).map(|owned| owned.set).unwrap_or_default();
            let owned = Owned {
                set: before.union(&changed),
                api_version: self.api_version.to_owned(),
                time: Some(self.now.to_owned()),
            };
            managed.0.insert(manager, owned);
        }
        managed.cap();
        managed
    }

    /// How two objects of the written version differ in another one; `None` if that is not served.
    fn difference(&self, api_version: &str, old: &Value, new: &Value) -> Option<Comparison> {
        let place = self.versions.place(api_version)?;
        let difference = if api_version == self.api_version {
            compare(place, old, new)
        } else {
            compare(place, &self.versions.convert(old, api_version), &self.versions.convert(new, api_version))
        };
        Some(difference.filtered(|set| self.reach.filter(set)))
    }

    /// For each manager: what it owns of what changes, and all that goes away. Managers of versions that are gone go too.
    fn taken(
        &self,
        difference: &Comparison,
        old: &Value,
        new: &Value,
        managed: &mut Managed,
    ) -> BTreeMap<Manager, Taken> {
        let mut versions: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        versions.insert(self.api_version.to_owned(), Some(difference.clone()));
        let mut owned_by = BTreeMap::new();
        managed.0.retain(|manager, owned| {
            let version = versions.entry(owned.api_version.clone());
            let difference = version.or_insert_with(|| self.difference(&owned.api_version, old, new));
            let Some(difference) = difference else { return false };
            let changed = owned.set.intersection(&difference.changed());
            owned_by.insert(manager.clone(), Taken { changed, removed: difference.removed.clone() });
            true
        });
        owned_by
    }
}

/// Takes from each manager what it owned of a change and what is gone.
fn give_up(managed: &mut Managed, changes: &BTreeMap<Manager, Taken>) {
    managed.0.retain(|manager, owned| {
        if let Some(Taken { changed, removed }) = changes.get(manager)
            && !(changed.is_empty() && removed.is_empty())
        {
            owned.set = owned.set.difference(changed).difference(removed);
        }
        !owned.set.is_empty()
    });
}

/// What is nobody's, because the server sets it or the path says it.
fn never_owned() -> FieldSet {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

#[cfg(test)]
mod tests;
