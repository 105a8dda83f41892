//! Who may do what: RBAC, evaluated from the stored roles and bindings, deny by default.
//!
//! `system:masters` may do everything without rules. The policy is a function of the store and is brought up to date when it is asked, so a role
//! that was acknowledged counts for the next request.

pub(crate) mod bootstrap;
pub(crate) mod escalation;
mod policy;
mod rule;

use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::{Identity, MASTERS};
use crate::status::{Result, StatusError};
use crate::store::{Revision, Store, TableName};

pub(crate) use policy::Policy;
pub(crate) use rule::Rule;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    /// Empty for cluster scope, and for all namespaces.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The path of a request that is not for a resource; empty for resources.
    pub(crate) path: &'a str,
}

impl Attributes<'_> {
    /// Why not, in Kubernetes' words.
    pub(crate) fn denial(&self, identity: &Identity) -> String {
        let user = crate::field_error::quote(&identity.username);
        if !self.path.is_empty() {
            return format!("User {user} cannot {} path {}", self.verb, crate::field_error::quote(self.path));
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            sub => format!("{}/{sub}", self.resource),
        };
        let place = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        format!("User {user} cannot {} resource \"{resource}\" in API group \"{}\" {place}", self.verb, self.group)
    }

    /// The 403.
    pub(crate) fn forbidden(&self, identity: &Identity) -> StatusError {
        StatusError::forbidden(self.group, self.resource, self.name, &self.denial(identity))
    }
}

const TABLES: [&str; 4] = [
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
];

/// Evaluates RBAC over a store.
pub(crate) struct Rbac {
    store: Store,
    tables: [TableName; 4],
    current: Mutex<([Revision; 4], Arc<Policy>)>,
}

impl Rbac {
    pub(crate) fn new(store: Store) -> Self {
        let never = [Revision(u64::MAX); 4];
        Self { store, tables: TABLES.map(TableName::from), current: Mutex::new((never, Arc::default())) }
    }

    /// Whether somebody may do something.
    pub(crate) fn allows(&self, identity: &Identity, attributes: &Attributes<'_>) -> bool {
        identity.is_in(MASTERS) || self.policy().allows(identity, attributes)
    }

    /// # Errors
    /// 403 if they may not.
    pub(crate) fn authorize(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<()> {
        if self.allows(identity, attributes) { Ok(()) } else { Err(attributes.forbidden(identity)) }
    }

    /// The rules and bindings as of now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let revisions = std::array::from_fn(|i| {
            self.tables.get(i).map(|table| self.store.table_revision(table)).unwrap_or_default()
        });
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != revisions {
            let [cluster_bindings, cluster_roles, bindings, roles] = &self.tables;
            let list = |table: &TableName| self.store.list(table, "").objects;
            let policy = Policy::of(&list(cluster_roles), &list(roles), &list(cluster_bindings), &list(bindings));
            *current = (revisions, Arc::new(policy));
        }
        Arc::clone(&current.1)
    }
}
