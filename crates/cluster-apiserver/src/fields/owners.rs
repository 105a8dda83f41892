//! Who owns what after a write: whoever changes a field owns it, whoever applies one does too.
//!
//! ```text
//! update: what differs → the writer's entry, out of all others; what went away → out of all
//! apply:  live + config → without what the applier gave up and nobody else owns → what others own and would change is a conflict
//! ```
//! Specified by structured-merge-diff's `merge.Updater` and the managers around it in apimachinery's `managedfields`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::element::Element;
use super::managed::{Managed, Manager, Operation, Owned};
use super::merge::merge;
use super::of::fields_of;
use super::remove::{remove, with_named_fields};
use super::schema::Place;
use super::set::FieldSet;

/// Who owns fields that nobody was known to own when somebody applied first.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

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

/// What an apply would change of what others own.
pub(crate) type Conflicts = BTreeMap<Manager, FieldSet>;

/// What changes, or what a manager owns of that.
struct Change {
    changed: FieldSet,
    removed: FieldSet,
}

/// What an update comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Updated {
    pub(crate) managed: Managed,
    /// Whether more than times differ from before.
    pub(crate) differs: bool,
}

/// What an apply comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) object: Value,
    pub(crate) managed: Managed,
}

impl Ownership<'_> {
    /// Who owns what after an update from `old` to `new`, neither of which contains managedFields.
    pub(crate) fn update(&self, old: &Value, new: &Value, managed: Managed) -> Updated {
        self.update_by(self.manager, old, new, managed)
    }

    fn update_by(&self, manager: &str, old: &Value, new: &Value, mut managed: Managed) -> Updated {
        let difference = self.difference(self.api_version, old, new).unwrap_or_default();
        // A change of nothing leaves all as it is; versions do not matter then.
        if difference.is_empty() {
            return Updated { managed, differs: false };
        }
        let manager = Manager::new(manager, Operation::Update, self.api_version, self.subresource);
        let changed = self.reach.filter(&difference.changed()).difference(&NEVER_OWNED);
        let count = managed.0.len();
        // The writer's own entry gets what changes in any case.
        let mut taken = self.taken_from(&difference, old, new, &mut managed);
        if let Some(own) = taken.get_mut(&manager) {
            own.changed = own.changed.difference(&changed);
        }
        let mut differs = give_up(&mut managed, &taken) || managed.0.len() != count;
        if !changed.is_empty() {
            let own = managed.0.entry(manager).or_insert_with(|| Owned::nothing(self.api_version));
            if own.set.intersection(&changed) != changed {
                own.set = own.set.get().union(&changed).into();
                differs = true;
            }
            own.time = Some(self.now.to_owned());
        }
        managed.cap();
        Updated { managed, differs }
    }

    /// What an apply of `config` to `live` comes to. `empty` is an object of the type in which nothing is set.
    ///
    /// # Errors
    /// Fields that others own would change, and it is not forced.
    pub(crate) fn apply(
        &self,
        live: &Value,
        config: &Value,
        managed: Managed,
        empty: &Value,
        is_forced: bool,
    ) -> Result<Applied, Conflicts> {
        let mut managed = managed;
        if managed.0.is_empty() {
            managed = self.update_by(BEFORE_FIRST_APPLY, empty, live, managed).managed;
        }
        let Some(place) = self.versions.place(self.api_version) else {
            return Ok(Applied { object: live.clone(), managed });
        };
        let manager = Manager::new(self.manager, Operation::Apply, "", self.subresource);
        let merged = merge(place, live, config);
        let set = self.reach.filter(&fields_of(place, config));
        let time = managed.0.get(&manager).and_then(|owned| owned.time.clone());
        let owned = Owned { set: set.into(), api_version: self.api_version.to_owned(), time };
        let last = managed.0.insert(manager.clone(), owned);
        let object = match last {
            Some(last) if !last.set.is_empty() => self.prune(merged, &managed, &last),
            _ => merged,
        };
        let difference = self.difference(self.api_version, live, &object).unwrap_or_default();
        let own = managed.0.remove(&manager);
        let taken = self.taken_from(&difference, live, &object, &mut managed);
        let would_change = taken.iter().filter(|(_, taken)| !taken.changed.is_empty());
        let would_change: Conflicts =
            would_change.map(|(manager, taken)| (manager.clone(), taken.changed.clone())).collect();
        if !is_forced && !would_change.is_empty() {
            return Err(would_change);
        }
        give_up(&mut managed, &taken);
        if let Some(mut owned) = own {
            owned.set = owned.set.get().difference(&NEVER_OWNED).into();
            // Whoever changes nothing has not been here.
            if object != *live {
                owned.time = Some(self.now.to_owned());
            }
            if !owned.set.is_empty() {
                managed.0.insert(manager, owned);
            }
        }
        Ok(Applied { object, managed })
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

    /// What a change takes from each manager. Managers of versions that are gone go too.
    fn taken_from(
        &self,
        difference: &Comparison,
        old: &Value,
        new: &Value,
        managed: &mut Managed,
    ) -> BTreeMap<Manager, Change> {
        let of = |difference: Comparison| Change { changed: difference.changed(), removed: difference.removed };
        let mut versions: BTreeMap<String, Option<Change>> = BTreeMap::new();
        versions.insert(self.api_version.to_owned(), Some(of(difference.clone())));
        let mut taken = BTreeMap::new();
        managed.0.retain(|manager, owned| {
            if !versions.contains_key(&owned.api_version) {
                versions.insert(owned.api_version.clone(), self.difference(&owned.api_version, old, new).map(of));
            }
            let Some(Some(change)) = versions.get(&owned.api_version) else { return false };
            let changed = owned.set.intersection(&change.changed);
            let removed = owned.set.intersection(&change.removed);
            taken.insert(manager.clone(), Change { changed, removed });
            true
        });
        taken
    }

    /// The merged object without what its applier owned last time, does not name this time, and nobody else owns.
    fn prune(&self, merged: Value, managed: &Managed, last: &Owned) -> Value {
        let Some(place) = self.versions.place(&last.api_version) else { return merged };
        let merged = self.in_version(merged, self.api_version, &last.api_version);
        let named = |place, object: &Value| with_named_fields(place, &fields_of(place, object));
        let last_set = with_named_fields(place, &last.set.get());
        let pruned = remove(place, &merged, &last_set);
        let pruned = self.with_owned(&merged, pruned, managed, &last.api_version);
        // What came along although the applier never owned it comes back too.
        let gone = named(place, &merged).difference(&named(place, &pruned)).intersection(&last_set);
        self.in_version(remove(place, &merged, &gone), &last.api_version, self.api_version)
    }

    /// What is left of `merged`, with what is still owned, by whomever it is: in each owner's version, whose schema says what is on the way to it.
    fn with_owned(&self, merged: &Value, pruned: Value, managed: &Managed, api_version: &str) -> Value {
        let mut owned_in: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for owned in managed.0.values() {
            let set = owned_in.entry(&owned.api_version).or_default();
            *set = set.union(&owned.set.get());
        }
        let first = owned_in.remove_entry(api_version);
        let (mut merged, mut pruned, mut current) = (merged.clone(), pruned, api_version);
        for (version, owned) in first.into_iter().chain(owned_in) {
            let Some(place) = self.versions.place(version) else { continue };
            merged = self.in_version(merged, current, version);
            pruned = self.in_version(pruned, current, version);
            current = version;
            let named = |set: &FieldSet| with_named_fields(place, set);
            let kept = named(&fields_of(place, &pruned)).union(&named(&owned));
            pruned = remove(place, &merged, &named(&fields_of(place, &merged)).difference(&kept));
        }
        self.in_version(pruned, current, api_version)
    }

    fn in_version(&self, object: Value, from: &str, to: &str) -> Value {
        if from == to { object } else { self.versions.convert(&object, to) }
    }
}

/// Takes from each manager what it owned of a change; answers whether that was anything.
fn give_up(managed: &mut Managed, taken: &BTreeMap<Manager, Change>) -> bool {
    let mut is_any = false;
    managed.0.retain(|manager, owned| {
        if let Some(Change { changed, removed }) = taken.get(manager)
            && !(changed.is_empty() && removed.is_empty())
        {
            owned.set = owned.set.get().difference(changed).difference(removed).into();
            is_any = true;
        }
        !owned.set.is_empty()
    });
    is_any
}

/// What is nobody's, because the server sets it or the path says it.
static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
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
});

#[cfg(test)]
mod tests;
