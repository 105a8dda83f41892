//! Who controls an object: owner references with `controller: true`.

use std::sync::Arc;

use base_controller::{Index, Informer, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::labels::Matcher;

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

/// The index of children by controller: the controller's uid, or `orphans/<namespace>` for who has none.
pub(crate) fn by_controller<K: Object>(children: &Informer<K>) -> Index<K> {
    children.index("controller", |child| match controller_uid(child.meta()) {
        Some(uid) => vec![uid.to_owned()],
        None => vec![orphans_in(child.meta())],
    })
}

/// The objects that `owner` controls, and those of its namespace that nobody controls and its selector takes; in the order of their names.
pub(crate) fn own_and_free<K: Object>(by_controller: &Index<K>, owner: &ObjectMeta, selector: &Matcher) -> Vec<Arc<K>> {
    let mut objects = by_controller.get(owner.uid.as_deref().unwrap_or_default());
    let free = by_controller.get(&orphans_in(owner)).into_iter();
    objects.extend(free.filter(|object| selector.takes(object.meta())));
    objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    objects
}

fn orphans_in(meta: &ObjectMeta) -> String {
    format!("orphans/{}", meta.namespace.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context_of;
    use base_controller::Scope;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    #[tokio::test]
    async fn an_owner_finds_its_own_and_what_it_may_take() {
        let pod = |name: &str, namespace: &str, app: &str, owner: Option<&str>| {
            let owner =
                owner.map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": "k", "uid": uid, "controller": true}));
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
                "namespace": namespace, "name": name, "resourceVersion": "1", "labels": {"app": app},
                "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
            }})
        };
        let (context, _shutdown) = context_of(vec![
            pod("d", "n", "other", Some("me")),
            pod("c", "n", "a", Some("another")),
            pod("b", "n", "a", None),
            pod("a", "n", "other", None),
            pod("e", "m", "a", None),
        ]);
        let pods = context.informers.get::<Pod>(Scope::all());
        let index = by_controller(&pods);
        pods.synced().await;
        let me = ObjectMeta { namespace: Some("n".into()), uid: Some("me".into()), ..ObjectMeta::default() };
        let selector = Matcher::new(&serde_json::from_value(json!({"matchLabels": {"app": "a"}})).unwrap());
        let found = own_and_free(&index, &me, &selector);
        let names: Vec<_> = found.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["b", "d"]);
    }
}
