//! What the labeler looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use knative_apis::meta::owner;
use knative_apis::serving::v1::{Configuration, Revision, Route, TrafficTarget};
use kube::ResourceExt;
use serde::Serialize;

use crate::caches::{Caches, index_value};

/// The facts about one Route.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Route.
    pub(crate) route: Arc<Route>,
    /// The Configurations that it leads to, by name.
    pub(crate) configurations: BTreeMap<String, Arc<Configuration>>,
    /// The Revisions that it leads to, by name.
    pub(crate) revisions: BTreeMap<String, Arc<Revision>>,
    /// The Configurations that are told that it leads to them.
    pub(crate) told_configurations: Vec<Arc<Configuration>>,
    /// The Revisions that are told that it leads to them.
    pub(crate) told_revisions: Vec<Arc<Revision>>,
    /// What its spec and status name, whether that is there or not.
    #[serde(skip)]
    pub(crate) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the Route is gone. One that is going leads nowhere.
pub(crate) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let route = caches.routes.get(key)?;
    let mut observed = Observed {
        configurations: BTreeMap::new(),
        revisions: BTreeMap::new(),
        told_configurations: caches.configurations_of_route.get(&index_value(key)),
        told_revisions: caches.revisions_of_route.get(&index_value(key)),
        references: Vec::new(),
        route: Arc::clone(&route),
    };
    if route.metadata.deletion_timestamp.is_none() {
        for target in route.status.traffic.iter().chain(&route.spec.traffic) {
            observed.lead_to(target, caches, key.namespace());
        }
    }
    Some(observed)
}

impl Observed {
    fn lead_to(&mut self, target: &TrafficTarget, caches: &Caches, namespace: &str) {
        let mut configuration = target.configuration_name.clone();
        if !target.revision_name.is_empty() {
            let Some(revision) = self.revision(&target.revision_name, caches, namespace) else { return };
            let maker = owner::controller_of(&revision.metadata).filter(|owner| owner.kind == "Configuration");
            if let Some(maker) = maker {
                configuration.clone_from(&maker.name);
            }
        }
        if configuration.is_empty() {
            return;
        }
        let key = Key::new(namespace, configuration.as_str());
        self.references.push(ObjectRef::new::<Configuration>(key.clone()));
        let Some(found) = caches.configurations.get(&key) else { return };
        let latest = found.status.latest_created_revision_name.clone();
        self.configurations.insert(configuration, found);
        if target.is_latest() && !latest.is_empty() {
            // It will have traffic in a moment, and is not to be scaled down or collected before.
            self.revision(&latest, caches, namespace);
        }
    }

    fn revision(&mut self, name: &str, caches: &Caches, namespace: &str) -> Option<Arc<Revision>> {
        let key = Key::new(namespace, name);
        self.references.push(ObjectRef::new::<Revision>(key.clone()));
        let revision = caches.revisions.get(&key)?;
        self.revisions.insert(revision.name_any(), Arc::clone(&revision));
        Some(revision)
    }
}
