//! Which resources there are: the built-in kinds, and what the stored CRDs define.
//!
//! The registry is a function of the store: it is brought up to date when it is asked and a CRD has changed since, so whoever has seen a CRD
//! Established can use it.

mod resource;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::crd::{Conversion, Definition, Names};
use crate::kinds;
use crate::store::{ObjectKey, Revision, Store, TableName};

pub(crate) use resource::{Behaviour, Resource, Subresource};

/// Where CRDs are.
pub(crate) const CRD_TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// All resources.
pub(crate) struct Registry {
    store: Store,
    crds: TableName,
    builtins: Vec<Arc<Resource>>,
    current: Mutex<Current>,
}

struct Current {
    catalogue: Arc<Catalogue>,
    compiled: BTreeMap<ObjectKey, Compiled>,
}

/// A CRD as it was when it was last looked at.
struct Compiled {
    revision: Revision,
    /// Tells whether the spec has changed since.
    edition: (String, i64),
    is_served: bool,
    is_ending: bool,
    crd: ObjectKey,
    names: Names,
    resources: Vec<Arc<Resource>>,
    converting: Option<Converting>,
}

/// A custom resource of several versions.
#[derive(Clone)]
struct Converting {
    conversion: Arc<Conversion>,
    /// In the version that is kept, which may not be served.
    storage: Arc<Resource>,
}

/// All resources at one time.
#[derive(Default)]
pub(crate) struct Catalogue {
    /// Of the CRDs' table.
    pub(crate) revision: Revision,
    by_plural: BTreeMap<(String, String), BTreeMap<String, Arc<Resource>>>,
    pub(crate) groups: Vec<Group>,
    /// Whose CRDs are being deleted.
    ending: BTreeSet<TableName>,
    /// Which webhooks convert.
    converting: BTreeMap<TableName, Converting>,
}

/// A group and its versions, preferred first.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
}

/// The resources of a group's version, in the order of discovery.
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) resources: Vec<Arc<Resource>>,
    /// The CRDs behind it; empty for built-in versions.
    pub(crate) crds: Vec<ObjectKey>,
}

impl Registry {
    /// The registry of a server; `measures` tells whether it has somebody who measures.
    pub(crate) fn new(store: Store, measures: bool) -> Self {
        let measured: &[kinds::Kind] = if measures { kinds::measured() } else { &[] };
        let builtins: Vec<_> =
            kinds::builtins().iter().chain(measured).map(|kind| Arc::new(Resource::builtin(kind))).collect();
        for resource in builtins.iter().filter(|resource| !resource.is_virtual()) {
            store.ensure_table(&resource.table);
        }
        let never = Catalogue { revision: Revision(u64::MAX), ..Catalogue::default() };
        let current = Current { catalogue: Arc::new(never), compiled: BTreeMap::new() };
        Self { store, crds: TableName::from(CRD_TABLE), builtins, current: Mutex::new(current) }
    }

    /// All resources as of now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        let revision = self.store.table_revision(&self.crds);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.catalogue.revision != revision {
            self.refresh(&mut current);
        }
        Arc::clone(&current.catalogue)
    }

    /// A built-in resource.
    pub(crate) fn builtin(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.builtins.iter().find(|resource| resource.is(group, plural))
    }

    /// The names that built-in kinds of a group hold.
    pub(crate) fn builtin_names(&self, group: &str) -> impl Iterator<Item = Names> {
        self.builtins.iter().filter(move |builtin| builtin.group == group).map(|builtin| Names {
            group: builtin.group.clone(),
            plural: builtin.plural.clone(),
            singular: builtin.singular.clone(),
            kind: builtin.kind.clone(),
            list_kind: builtin.list_kind.clone(),
            short_names: builtin.short_names.clone(),
            categories: builtin.categories.clone(),
            is_namespaced: builtin.is_namespaced,
        })
    }

    fn refresh(&self, current: &mut Current) {
        // Asked before the list: if a write comes between the two, the next caller looks again.
        let revision = self.store.table_revision(&self.crds);
        let crds = self.store.list(&self.crds, "");
        let mut compiled = BTreeMap::new();
        for stored in crds.objects {
            let before = current.compiled.remove(&stored.key);
            let now = match before {
                Some(before) if before.revision == stored.revision => before,
                before => {
                    let Ok(crd) = serde_json::from_slice::<Value>(&stored.body) else { continue };
                    Compiled::of(&stored.key, stored.revision, &crd, before)
                }
            };
            compiled.insert(stored.key.clone(), now);
        }
        for served in compiled.values().filter(|compiled| compiled.is_served) {
            self.store.ensure_table(&served.names.table());
        }
        current.catalogue = Arc::new(Catalogue::of(revision, &self.builtins, compiled.values()));
        current.compiled = compiled;
    }
}

impl Compiled {
    fn of(key: &ObjectKey, revision: Revision, crd: &Value, before: Option<Self>) -> Self {
        let edition = crate::crd::edition(crd);
        let is_served = crate::crd::has_condition(crd, "Established");
        let is_ending = crate::crd::has_condition(crd, "Terminating");
        match before {
            Some(before) if before.edition == edition => Self { revision, is_served, is_ending, ..before },
            _ => {
                let Definition { names, versions, conversion } = Definition::compile(crd);
                let resource = |version| Arc::new(Resource::custom(&names, version));
                let resources = versions.into_iter().map(resource).collect();
                let converting = conversion.map(|(conversion, storage)| Converting {
                    conversion: Arc::new(conversion),
                    storage: resource(storage),
                });
                Self { revision, edition, is_served, is_ending, crd: key.clone(), names, resources, converting }
            }
        }
    }
}

impl Catalogue {
    fn of<'a>(revision: Revision, builtins: &[Arc<Resource>], custom: impl Iterator<Item = &'a Compiled>) -> Self {
        let mut catalogue = Self { revision, ..Self::default() };
        for resource in builtins {
            catalogue.add(resource, None);
        }
        let built_in_groups = catalogue.groups.len();
        let is_builtin = |names: &Names| builtins.iter().any(|builtin| builtin.is(&names.group, &names.plural));
        for compiled in custom.filter(|compiled| compiled.is_served && !is_builtin(&compiled.names)) {
            if compiled.is_ending {
                catalogue.ending.insert(compiled.names.table());
            }
            if let Some(converting) = &compiled.converting {
                catalogue.converting.insert(compiled.names.table(), converting.clone());
            }
            for resource in &compiled.resources {
                catalogue.add(resource, Some(&compiled.crd));
            }
        }
        let (_, custom_groups) = catalogue.groups.split_at_mut(built_in_groups);
        custom_groups.sort_by(|a, b| a.name.cmp(&b.name));
        for group in &mut catalogue.groups {
            group.versions.sort_by(|a, b| crate::crd::prefer(&a.name, &b.name));
        }
        catalogue
    }

    fn add(&mut self, resource: &Arc<Resource>, crd: Option<&ObjectKey>) {
        let group = match self.groups.iter().position(|group| group.name == resource.group) {
            Some(index) => index,
            None => {
                self.groups.push(Group { name: resource.group.clone(), versions: Vec::new() });
                self.groups.len() - 1
            }
        };
        let Some(group) = self.groups.get_mut(group) else { return };
        let version = match group.versions.iter().position(|version| version.name == resource.version) {
            Some(index) => index,
            None => {
                group.versions.push(Version {
                    name: resource.version.clone(),
                    resources: Vec::new(),
                    crds: Vec::new(),
                });
                group.versions.len() - 1
            }
        };
        let Some(version) = group.versions.get_mut(version) else { return };
        version.resources.push(Arc::clone(resource));
        version.crds.extend(crd.cloned());
        let plural = (resource.group.clone(), resource.plural.clone());
        self.by_plural.entry(plural).or_default().insert(resource.version.clone(), Arc::clone(resource));
    }

    /// A resource by its path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_plural.get(&(group.to_owned(), plural.to_owned()))?.get(version)
    }

    /// Whether a resource's CRD is being deleted.
    pub(crate) fn is_ending(&self, resource: &Resource) -> bool {
        self.ending.contains(&resource.table)
    }

    /// How a resource's objects go from one version to another, if it is custom and has several.
    pub(crate) fn conversion(&self, resource: &Resource) -> Option<&Conversion> {
        self.converting.get(&resource.table).map(|converting| &*converting.conversion)
    }

    /// A resource in the version that is kept, if it is custom and has several.
    pub(crate) fn storage(&self, resource: &Resource) -> Option<&Arc<Resource>> {
        self.converting.get(&resource.table).map(|converting| &converting.storage)
    }

    /// The same objects as other versions, or groups, have them; for a subresource those that have it too.
    pub(crate) fn equivalents<'a>(
        &'a self,
        resource: &'a Resource,
        subresource: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        let versions = self.groups.iter().flat_map(|group| &group.versions);
        versions.flat_map(|version| &version.resources).filter(move |other| {
            other.table == resource.table
                && other.api_version != resource.api_version
                && (subresource.is_empty() || other.subresource(subresource).is_some())
        })
    }

    /// A version of a group.
    pub(crate) fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?.versions.iter().find(|candidate| candidate.name == version)
    }

    /// A group.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}
