//! Who controls an object: owner references with `controller: true`.

use base_controller::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

/// The reference to the controller of an object, if it has one.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The uid of the controller of an object, if it has one.
pub(crate) fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    controller_of(meta).map(|owner| owner.uid.as_str())
}

/// The reference by which `owner` controls a child. A foreground deletion of the owner waits for the child.
pub(crate) fn controller_reference<K: Object + Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The value of an index of children by controller: the controller's uid, or `orphans/<namespace>` for who has none.
pub(crate) fn index_values(meta: &ObjectMeta) -> Vec<String> {
    match controller_uid(meta) {
        Some(uid) => vec![uid.to_owned()],
        None => vec![orphans_in(meta.namespace.as_deref().unwrap_or_default())],
    }
}

/// Under which value of [`index_values`] the objects of a namespace are found that nobody controls.
pub(crate) fn orphans_in(namespace: &str) -> String {
    format!("orphans/{namespace}")
}
