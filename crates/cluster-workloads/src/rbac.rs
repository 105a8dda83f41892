//! What each controller may do: one ServiceAccount in `kube-system` and one ClusterRole per controller, as data for whoever installs them.
//!
//! Controllers read through shared informers, which have an identity of their own ([`READER`]); so a controller's role names only what it
//! writes, and Events.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    cron_job, daemon_set, deployment, disruption, endpoints, event_ttl, job, load_balancer, namespace, node, owner_gc,
    persistent_claim, persistent_volume, pod_autoscaler, pod_gc, replica_set, resource_quota, scheduler,
    service_account, stateful_set, ttl_after_finished,
};

/// Where the controllers' ServiceAccounts are.
pub const NAMESPACE: &str = "kube-system";
/// The identity that lists and watches for all of them.
pub const READER: &str = "shared-informers";

/// A rule: API groups, resources, verbs.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// API groups; the core group is empty.
    pub groups: &'static [&'static str],
    /// Resources and subresources.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// An identity and what it may do.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The ServiceAccount's name in [`NAMESPACE`].
    pub name: &'static str,
    /// What it may do, besides writing Events.
    pub rules: &'static [Rule],
}

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { groups, resources, verbs }
}

const EVENTS: Rule = rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]);

/// Every identity that [`crate::wire`] asks a client for, and the node's.
pub const IDENTITIES: &[Identity] = &[
    Identity { name: READER, rules: &[rule(&["*"], &["*"], &["get", "list", "watch"])] },
    Identity {
        name: deployment::NAME,
        rules: &[
            rule(&["apps"], &["deployments", "deployments/status", "deployments/finalizers"], &["update"]),
            rule(&["apps"], &["replicasets"], &["create", "update", "delete"]),
        ],
    },
    Identity {
        name: replica_set::NAME,
        rules: &[
            rule(&["apps"], &["replicasets", "replicasets/status", "replicasets/finalizers"], &["update"]),
            rule(&[""], &["pods"], &["create", "update", "delete"]),
        ],
    },
    Identity {
        name: job::NAME,
        rules: &[
            rule(&["batch"], &["jobs/status", "jobs/finalizers"], &["update"]),
            rule(&[""], &["pods"], &["create", "update", "delete"]),
        ],
    },
    Identity {
        name: cron_job::NAME,
        rules: &[
            rule(&["batch"], &["cronjobs/status", "cronjobs/finalizers"], &["update"]),
            rule(&["batch"], &["jobs"], &["create", "delete"]),
        ],
    },
    Identity { name: ttl_after_finished::NAME, rules: &[rule(&["batch"], &["jobs"], &["delete"])] },
    Identity {
        name: disruption::NAME,
        rules: &[
            rule(&["policy"], &["poddisruptionbudgets/status"], &["update"]),
            rule(&[""], &["pods/status"], &["update"]),
        ],
    },
    Identity { name: resource_quota::NAME, rules: &[rule(&[""], &["resourcequotas/status"], &["update"])] },
    Identity {
        name: stateful_set::NAME,
        rules: &[
            rule(&["apps"], &["statefulsets", "statefulsets/status", "statefulsets/finalizers"], &["update"]),
            rule(&["apps"], &["controllerrevisions"], &["create", "update", "delete"]),
            rule(&[""], &["pods"], &["create", "update", "delete"]),
            rule(&[""], &["pods/finalizers"], &["update"]),
            rule(&[""], &["persistentvolumeclaims"], &["create", "update"]),
        ],
    },
    Identity {
        name: daemon_set::NAME,
        rules: &[
            rule(&["apps"], &["daemonsets", "daemonsets/status", "daemonsets/finalizers"], &["update"]),
            rule(&["apps"], &["controllerrevisions"], &["create", "update", "delete"]),
            rule(&[""], &["pods"], &["create", "update", "delete"]),
        ],
    },
    Identity {
        name: persistent_claim::NAME,
        rules: &[
            rule(&[""], &["persistentvolumeclaims", "persistentvolumeclaims/status"], &["update"]),
            rule(&[""], &["persistentvolumes"], &["create", "update"]),
        ],
    },
    Identity {
        name: persistent_volume::NAME,
        rules: &[rule(&[""], &["persistentvolumes", "persistentvolumes/status"], &["update", "delete"])],
    },
    Identity {
        name: endpoints::NAME,
        rules: &[
            rule(&[""], &["endpoints", "endpoints/restricted"], &["create", "update", "delete"]),
            rule(&[""], &["services/finalizers"], &["update"]),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices", "endpointslices/restricted"],
                &["create", "update", "delete"],
            ),
        ],
    },
    Identity {
        name: endpoints::MIRROR_NAME,
        rules: &[
            rule(&[""], &["endpoints/finalizers"], &["update"]),
            rule(
                &["discovery.k8s.io"],
                &["endpointslices", "endpointslices/restricted"],
                &["create", "update", "delete"],
            ),
        ],
    },
    Identity {
        name: namespace::NAME,
        rules: &[
            rule(&[""], &["namespaces/finalize", "namespaces/status"], &["update"]),
            rule(&["*"], &["*"], &["delete", "deletecollection"]),
        ],
    },
    Identity {
        name: owner_gc::NAME,
        rules: &[rule(&["*"], &["*"], &["get", "list", "watch", "patch", "update", "delete"])],
    },
    Identity {
        name: service_account::NAME,
        rules: &[rule(&[""], &["serviceaccounts"], &["create"]), rule(&[""], &["configmaps"], &["create", "update"])],
    },
    Identity { name: load_balancer::NAME, rules: &[rule(&[""], &["services/status"], &["update"])] },
    Identity {
        name: pod_autoscaler::NAME,
        rules: &[
            rule(&["autoscaling"], &["horizontalpodautoscalers/status"], &["update"]),
            rule(&["*"], &["*/scale"], &["get", "update"]),
            rule(&["", "metrics.k8s.io"], &["pods"], &["list"]),
        ],
    },
    Identity { name: pod_gc::NAME, rules: &[rule(&[""], &["pods", "pods/status"], &["update", "delete"])] },
    Identity { name: event_ttl::NAME, rules: &[rule(&[""], &["events"], &["delete"])] },
    Identity {
        name: node::NAME,
        rules: &[
            rule(&[""], &["pods", "services"], &["get", "list", "watch"]),
            rule(&[""], &["pods/status"], &["patch", "update"]),
            rule(&[""], &["pods"], &["delete"]),
            rule(&[""], &["nodes"], &["get", "create"]),
            rule(&[""], &["nodes/status"], &["patch", "update"]),
            rule(&["coordination.k8s.io"], &["leases"], &["get", "create", "patch", "update"]),
            rule(&[""], &["configmaps", "secrets", "persistentvolumeclaims"], &["get"]),
            rule(&[""], &["persistentvolumes"], &["get", "list", "watch", "patch"]),
            rule(&[""], &["serviceaccounts/token"], &["create"]),
        ],
    },
    Identity {
        name: scheduler::NAME,
        rules: &[
            rule(&[""], &["pods/binding"], &["create"]),
            rule(&[""], &["pods/status"], &["update"]),
            rule(&[""], &["persistentvolumeclaims"], &["update"]),
        ],
    },
];

/// The username of an identity.
pub fn username(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

/// What has to be installed so that the controllers may work.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The controllers' accounts.
    pub service_accounts: Vec<ServiceAccount>,
    /// What they may do.
    pub cluster_roles: Vec<ClusterRole>,
    /// Who may do what.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
}

/// [`IDENTITIES`] as objects.
pub fn installation() -> Installation {
    Installation {
        service_accounts: IDENTITIES.iter().map(make_service_account).collect(),
        cluster_roles: IDENTITIES.iter().map(make_cluster_role).collect(),
        cluster_role_bindings: IDENTITIES.iter().map(make_binding).collect(),
    }
}

fn role_name(identity: &Identity) -> String {
    format!("system:controller:{}", identity.name)
}

fn metadata(name: String) -> ObjectMeta {
    let labels = BTreeMap::from([("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned())]);
    ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() }
}

fn make_service_account(identity: &Identity) -> ServiceAccount {
    let metadata = ObjectMeta {
        name: Some(identity.name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        ..ObjectMeta::default()
    };
    ServiceAccount { metadata, ..ServiceAccount::default() }
}

fn make_cluster_role(identity: &Identity) -> ClusterRole {
    let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let policy = |rule: &Rule| PolicyRule {
        api_groups: Some(owned(rule.groups)),
        resources: Some(owned(rule.resources)),
        verbs: owned(rule.verbs),
        ..PolicyRule::default()
    };
    let rules = identity.rules.iter().chain([&EVENTS]).map(policy).collect();
    ClusterRole { metadata: metadata(role_name(identity)), rules: Some(rules), ..ClusterRole::default() }
}

fn make_binding(identity: &Identity) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: metadata(role_name(identity)),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role_name(identity),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: identity.name.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..Subject::default()
        }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_one_account_role_and_binding() {
        let installation = installation();
        let mut names: Vec<_> = IDENTITIES.iter().map(|identity| identity.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), IDENTITIES.len(), "names are unique");
        assert_eq!(installation.service_accounts.len(), names.len());
        let binding = &installation.cluster_role_bindings[1];
        assert_eq!(binding.role_ref.name, "system:controller:deployment-controller");
        assert_eq!(username(deployment::NAME), "system:serviceaccount:kube-system:deployment-controller");
    }
}
