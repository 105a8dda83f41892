//! Owner references: who made an object, and whose end is its end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube_core::Resource;

/// A reference that makes `owner` the controller of the object that carries it, and lets a
/// foreground deletion of the owner wait for it.
pub fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The reference to the controller of an object, if it has one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` (by its uid) is the controller of the object.
pub fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    match (controller_of(meta), &owner.uid) {
        (Some(reference), Some(uid)) => reference.uid == *uid,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::v1::Service;

    #[test]
    fn an_owner_is_known_by_its_uid() {
        let mut owner = Service::default();
        owner.metadata.name = Some("hello".to_owned());
        owner.metadata.uid = Some("u1".to_owned());
        let child = ObjectMeta { owner_references: Some(vec![controller_ref(&owner)]), ..ObjectMeta::default() };
        let reference = controller_of(&child).expect("a controller");
        assert_eq!((reference.api_version.as_str(), reference.kind.as_str()), ("serving.knative.dev/v1", "Service"));
        assert!(is_controlled_by(&child, &owner.metadata));
        owner.metadata.uid = Some("u2".to_owned());
        assert!(!is_controlled_by(&child, &owner.metadata));
        assert!(!is_controlled_by(&ObjectMeta::default(), &owner.metadata));
    }
}
