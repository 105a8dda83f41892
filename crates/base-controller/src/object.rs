//! What this crate asks of an object's type, and the few things it reads from every object.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::{GroupKind, Key};

/// A type of Kubernetes objects: `k8s-openapi`'s, Knative's, `DynamicObject`, `PartialObjectMeta<K>` (metadata only). Implemented for all that fit.
pub trait Object:
    Resource<DynamicType: Clone + Send + Sync> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType: Clone + Send + Sync>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// A `resourceVersion` as the number that it is (Kubernetes promises since 1.35 that they compare as integers within a kind).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of an object as last read or written; none if the server's versions are no numbers.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        meta.resource_version.as_deref()?.parse().ok().map(Self)
    }
}

/// The key of the controller that owns an object (its `controller: true` owner reference), if that is of kind `O`.
pub fn owner_key<O: Resource<DynamicType: Default>>(meta: &ObjectMeta) -> Option<Key> {
    owner_key_of(meta, &GroupKind::of::<O>())
}

/// As [`owner_key`], for a kind known only at run time. Owners are namespaced like the object that they own.
pub(crate) fn owner_key_of(meta: &ObjectMeta, kind: &GroupKind) -> Option<Key> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    is_of(owner, kind).then(|| Key::new(meta.namespace.as_deref().unwrap_or_default(), owner.name.as_str()))
}

fn is_of(owner: &OwnerReference, kind: &GroupKind) -> bool {
    let group = owner.api_version.split_once('/').map_or("", |(group, _version)| group);
    group == kind.group() && owner.kind == kind.kind()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

    fn owned_by(api_version: &str, kind: &str) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: "hello".into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta {
            namespace: Some("default".into()),
            owner_references: Some(vec![owner]),
            resource_version: Some("12".into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_owner_is_matched_by_group_and_kind_of_any_version() {
        let meta = owned_by("apps/v1beta1", "ReplicaSet");
        assert_eq!(owner_key::<ReplicaSet>(&meta), Some(Key::new("default", "hello")));
        assert_eq!(owner_key::<Deployment>(&meta), None);
        assert_eq!(owner_key::<ReplicaSet>(&owned_by("other/v1", "ReplicaSet")), None);
    }

    #[test]
    fn revisions_are_numbers() {
        assert_eq!(Revision::of(&owned_by("apps/v1", "ReplicaSet")), Some(Revision(12)));
        assert_eq!(Revision::of(&ObjectMeta::default()), None);
    }
}
