//! How many Pods a Pod's controller is meant to have: of a ReplicaSet, that of its Deployment.

use base_controller::{Controller, Informer, Informers, Key, Object, Scope};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use serde::Serialize;
use std::sync::Arc;

use super::Budgets;
use crate::objects::owners;

/// The size of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Scale {
    /// The controller at the top, by its uid, and its replicas.
    Of { uid: String, replicas: i32 },
    /// It is not there.
    Unknown,
    /// Objects of this resource have no size.
    None { resource: String },
}

/// The caches of the controllers that have one.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

impl Scales {
    pub(super) fn new(informers: &Informers) -> Self {
        Self {
            deployments: informers.get(Scope::all()),
            replica_sets: informers.get(Scope::all()),
            stateful_sets: informers.get(Scope::all()),
            replication_controllers: informers.get(Scope::all()),
        }
    }

    pub(super) fn reading(&self, controller: Controller<Budgets>) -> Controller<Budgets> {
        controller
            .reads(&self.deployments)
            .reads(&self.replica_sets)
            .reads(&self.stateful_sets)
            .reads(&self.replication_controllers)
    }

    /// The size of the controller that a reference names.
    pub(super) fn of(&self, namespace: &str, owner: &OwnerReference) -> Scale {
        let group = owner.api_version.split_once('/').map_or("", |(group, _version)| group);
        let found = match (group, owner.kind.as_str()) {
            ("apps" | "extensions", "ReplicaSet") => self.of_replica_set(namespace, owner),
            ("apps", "StatefulSet") => {
                find(&self.stateful_sets, namespace, owner).map(|set| of(&*set, set.spec.replicas))
            }
            ("", "ReplicationController") => find(&self.replication_controllers, namespace, owner)
                .map(|controller| of(&*controller, controller.spec.as_ref().and_then(|spec| spec.replicas))),
            ("apps" | "batch", kind) => {
                Some(Scale::None { resource: format!("{}s.{group}", kind.to_ascii_lowercase()) })
            }
            _ => None,
        };
        found.unwrap_or(Scale::Unknown)
    }

    fn of_replica_set(&self, namespace: &str, owner: &OwnerReference) -> Option<Scale> {
        let set = find(&self.replica_sets, namespace, owner)?;
        match owners::controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
            Some(owner) => {
                let deployment = find(&self.deployments, namespace, owner)?;
                Some(of(&*deployment, deployment.spec.replicas))
            }
            None => Some(of(&*set, set.spec.replicas)),
        }
    }
}

/// The object that a reference means.
fn find<K: Object + Resource<DynamicType = ()>>(
    informer: &Informer<K>,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<Arc<K>> {
    let found = informer.get(&Key::new(namespace, owner.name.as_str()))?;
    (found.meta().uid.as_ref() == Some(&owner.uid)).then_some(found)
}

fn of<K: Resource>(controller: &K, replicas: Option<i32>) -> Scale {
    Scale::Of { uid: controller.meta().uid.clone().unwrap_or_default(), replicas: replicas.unwrap_or(1) }
}
