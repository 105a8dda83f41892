//! Who owns an object's replicas, as managedFields of its scale and back.
//!
//! A scale has no managedFields of its own. Whoever owns the object's replicas owns the scale's while it is written; after that, whoever lost
//! them there loses them here, and whoever got them there has an entry of the subresource.

use serde_json::Value;

use crate::facts;
use crate::fields::{Conflicts, Element, FieldSet, Managed, Manager, OneVersion, Owned, Ownership, Place, Reach};
use crate::writes::Context;

/// The version that scales are of.
const API_VERSION: &str = "autoscaling/v1";

/// The type of scales.
pub(super) fn scale_type() -> Option<facts::Type> {
    facts::type_of_kind("autoscaling", "v1", "Scale")
}

/// The owners of an object while its scale is written.
pub(super) struct ScaleOwners<'a> {
    pub(super) context: &'a Context<'a>,
    /// The fields on the way to the object's replicas.
    pub(super) path: &'a [String],
    /// The object's managers.
    pub(super) object: Managed,
}

impl ScaleOwners<'_> {
    /// The object's managers after an update of its scale.
    pub(super) fn update(self, old: &Value, new: &Value) -> Managed {
        let scale = self.of_scale();
        // Where nobody owns the replicas nobody is told of who sets them.
        let after =
            if scale.0.is_empty() { scale } else { self.owning(|scales| scales.update(old, new, scale)).managed };
        self.of_object(after)
    }

    /// A configuration laid over a scale, and the object's managers after that.
    ///
    /// # Errors
    /// Others own the replicas.
    pub(super) fn apply(self, live: &Value, config: &Value, is_forced: bool) -> Result<(Value, Managed), Conflicts> {
        let empty = scale_type().map(facts::canonical::zero_message).unwrap_or_default();
        let scale = self.of_scale();
        let applied = self.owning(|scales| scales.apply(live, config, scale, &empty, is_forced))?;
        Ok((applied.object, self.of_object(applied.managed)))
    }

    fn owning<T>(&self, then: impl FnOnce(Ownership<'_>) -> T) -> T {
        let place = scale_type().map_or(Place::Any, Place::Message);
        then(Ownership {
            versions: &OneVersion { place, api_version: API_VERSION },
            api_version: API_VERSION,
            reach: &Reach::Without(FieldSet::default()),
            manager: self.context.manager,
            subresource: "scale",
            now: &self.context.core.now_text(),
        })
    }

    fn replicas(&self) -> Vec<Element> {
        self.path.iter().map(|name| Element::field(name)).collect()
    }

    /// The managers of the object's replicas, as managers of a scale's.
    pub(super) fn of_scale(&self) -> Managed {
        let path = self.replicas();
        let owners = self.object.0.iter().filter(|(_, owned)| owned.set.has(&path));
        let owners = owners.map(|(manager, owned)| {
            let set = FieldSet::of_fields(&[&["spec", "replicas"]]).into();
            (
                of_version(manager, API_VERSION),
                Owned { set, api_version: API_VERSION.to_owned(), time: owned.time.clone() },
            )
        });
        Managed(owners.collect())
    }

    /// The managers of the object, after those of its scale have become these.
    fn of_object(mut self, mut scale: Managed) -> Managed {
        let path = self.replicas();
        let mut replicas = FieldSet::default();
        replicas.insert(path.clone());
        scale.0.retain(|_, owned| owned.set.has(&[Element::field("spec"), Element::field("replicas")]));
        self.object.0.retain(|manager, owned| {
            if owned.set.has(&path) && scale.0.remove(&of_version(manager, API_VERSION)).is_none() {
                owned.set = owned.set.get().difference(&replicas).into();
            }
            !owned.set.is_empty()
        });
        let api_version = &self.context.resource.api_version;
        for manager in scale.0.into_keys() {
            // When is not told, as in Kubernetes.
            let owned = Owned { set: replicas.clone().into(), api_version: api_version.clone(), time: None };
            self.object.0.insert(of_version(&manager, api_version), owned);
        }
        self.object
    }
}

/// The manager, of another version.
fn of_version(manager: &Manager, api_version: &str) -> Manager {
    Manager::new(&manager.name, manager.operation, api_version, &manager.subresource)
}
