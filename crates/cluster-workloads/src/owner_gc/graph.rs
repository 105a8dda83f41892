//! Who owns whom: every object that a watch has shown, by uid, and its dependents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_controller::{GroupKind, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::ApiResource;

use crate::catalog::Metadata;

/// The finalizer of an object that waits for its dependents to go.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents are to stay.
pub(super) const ORPHAN: &str = "orphan";

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) resource: Arc<ApiResource>,
    pub(super) key: Key,
    pub(super) object: Arc<Metadata>,
}

impl Node {
    pub(super) fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    pub(super) fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &OwnerReference> {
        self.meta().owner_references.iter().flatten()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.meta().finalizers.iter().flatten().any(|finalizer| finalizer == name)
    }

    /// Whether it is being deleted and waits for its dependents.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_ending() && self.has_finalizer(FOREGROUND)
    }

    /// Whether it is the object that `reference`, made in `namespace`, means.
    pub(super) fn is_meant_by(&self, reference: &OwnerReference, namespace: &str) -> bool {
        let group = reference.api_version.split_once('/').map_or("", |(group, _version)| group);
        let is_kind = self.resource.group == group && self.resource.kind == reference.kind;
        let is_near = self.key.namespace().is_empty() || self.key.namespace() == namespace;
        is_kind && is_near && self.uid() == reference.uid && self.key.name() == reference.name
    }
}

/// All objects. A uid stands for one object for ever.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The objects that name `uid` as an owner, in the order of their uids.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get(uid))
    }

    /// Sets an object; returns the uids of those that have to be looked at.
    pub(super) fn set(&mut self, node: Node) -> BTreeSet<String> {
        let uid = node.uid().to_owned();
        let old = self.nodes.get(&uid).cloned();
        let mut affected = BTreeSet::new();
        let owners = |node: &Node| node.owners().map(|owner| owner.uid.clone()).collect::<BTreeSet<_>>();
        let (before, after) = (old.as_ref().map(owners).unwrap_or_default(), owners(&node));
        for owner in before.difference(&after) {
            self.unlink(owner, &uid);
            affected.insert(owner.clone());
        }
        for owner in after.difference(&before) {
            self.dependents.entry(owner.clone()).or_default().insert(uid.clone());
        }
        // Its dependents have something to do only once it begins to wait for them.
        if node.is_waiting() && !old.as_ref().is_some_and(Node::is_waiting) {
            affected.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if !after.is_empty() || node.is_ending() {
            affected.insert(uid.clone());
        }
        self.nodes.insert(uid, node);
        affected
    }

    /// Removes an object; returns the uids of those that have to be looked at.
    pub(super) fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(node) = self.nodes.remove(uid) else { return BTreeSet::new() };
        let mut affected: BTreeSet<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in node.owners() {
            self.unlink(&owner.uid, uid);
            affected.insert(owner.uid.clone());
        }
        affected
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// What has to be known of an owner that the graph does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    pub(super) kind: GroupKind,
    pub(super) key: Key,
    pub(super) uid: String,
}
