//! The roles and bindings that every cluster begins with, by Kubernetes' names.
//!
//! They are created if absent and never overwritten: what an administrator changed stays.

use serde_json::{Value, json};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["*"];

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

fn paths(verbs: &[&str], paths: &[&str]) -> Value {
    json!({"verbs": verbs, "nonResourceURLs": paths})
}

fn metadata(name: &str, labels: &[&str]) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    for label in labels {
        metadata["labels"][format!("rbac.authorization.k8s.io/{label}")] = json!("true");
    }
    metadata
}

fn cluster_role(name: &str, labels: &[&str], rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(name, labels), "rules": rules,
    })
}

fn aggregated(name: &str, labels: &[&str], from: &[&str]) -> Value {
    let selectors: Vec<Value> = from
        .iter()
        .map(|label| json!({"matchLabels": {format!("rbac.authorization.k8s.io/{label}"): "true"}}))
        .collect();
    let mut role = cluster_role(name, labels, vec![]);
    role["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    role
}

fn cluster_role_binding(role: &str, groups: &[&str], users: &[&str]) -> Value {
    let subject = |kind: &str, name: &str| json!({"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name});
    let subjects: Vec<Value> = groups
        .iter()
        .map(|name| subject("Group", name))
        .chain(users.iter().map(|name| subject("User", name)))
        .collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata(role, &[]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects,
    })
}

/// The ClusterRoles.
pub(crate) fn cluster_roles() -> Vec<Value> {
    let mut roles = for_everybody();
    roles.extend(for_people());
    roles.extend(for_components());
    roles
}

fn for_everybody() -> Vec<Value> {
    const INFO: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
    const DISCOVERY: &[&str] = &[
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    vec![
        cluster_role("cluster-admin", &[], vec![rule(ALL, ALL, ALL), paths(ALL, ALL)]),
        cluster_role("system:discovery", &[], vec![paths(&["get"], DISCOVERY)]),
        cluster_role("system:public-info-viewer", &[], vec![paths(&["get"], INFO)]),
        cluster_role(
            "system:basic-user",
            &[],
            vec![
                rule(&["create"], &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                rule(&["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
            ],
        ),
        cluster_role(
            "system:service-account-issuer-discovery",
            &[],
            vec![paths(
                &["get"],
                &[
                    "/.well-known/openid-configuration",
                    "/.well-known/openid-configuration/",
                    "/openid/v1/jwks",
                    "/openid/v1/jwks/",
                ],
            )],
        ),
        cluster_role(
            "system:monitoring",
            &[],
            vec![paths(
                &["get"],
                &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"],
            )],
        ),
    ]
}

/// What `admin`, `edit` and `view` are made of. Other roles join them by their labels.
fn for_people() -> Vec<Value> {
    const APPS: &[&str] = &[
        "daemonsets",
        "deployments",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ];
    const CORE: &[&str] = &[
        "configmaps",
        "endpoints",
        "events",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "serviceaccounts",
        "services",
    ];
    const CORE_STATUS: &[&str] = &[
        "bindings",
        "limitranges",
        "namespaces",
        "namespaces/status",
        "persistentvolumeclaims/status",
        "pods/log",
        "pods/status",
        "replicationcontrollers/status",
        "resourcequotas",
        "resourcequotas/status",
        "services/status",
    ];
    const STATUS: &[&str] = &[
        "controllerrevisions",
        "daemonsets/status",
        "deployments/status",
        "replicasets/status",
        "statefulsets/status",
    ];
    let view = vec![
        rule(READ, &[""], CORE),
        rule(READ, &[""], CORE_STATUS),
        rule(READ, &["apps"], APPS),
        rule(READ, &["apps"], STATUS),
        rule(READ, &["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        rule(READ, &["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        rule(READ, &["discovery.k8s.io"], &["endpointslices"]),
        rule(READ, &["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        rule(READ, &["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"]),
    ];
    let edit = vec![
        rule(READ, &[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"]),
        rule(&["impersonate"], &[""], &["serviceaccounts"]),
        rule(WRITE, &[""], &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
        rule(&["create"], &[""], &["pods/eviction", "serviceaccounts/token"]),
        rule(WRITE, &[""], CORE),
        rule(WRITE, &[""], &["secrets", "services/proxy"]),
        rule(WRITE, &["apps"], APPS),
        rule(WRITE, &["autoscaling"], &["horizontalpodautoscalers"]),
        rule(WRITE, &["batch"], &["cronjobs", "jobs"]),
        rule(WRITE, &["policy"], &["poddisruptionbudgets"]),
        rule(WRITE, &["networking.k8s.io"], &["ingresses", "networkpolicies"]),
        rule(
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            &["coordination.k8s.io"],
            &["leases"],
        ),
    ];
    let admin = vec![
        rule(&["create"], &["authorization.k8s.io"], &["localsubjectaccessreviews"]),
        rule(
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            &["rbac.authorization.k8s.io"],
            &["rolebindings", "roles"],
        ),
    ];
    vec![
        aggregated("admin", &[], &["aggregate-to-admin"]),
        aggregated("edit", &["aggregate-to-admin"], &["aggregate-to-edit"]),
        aggregated("view", &["aggregate-to-edit"], &["aggregate-to-view"]),
        cluster_role("system:aggregate-to-admin", &["aggregate-to-admin"], admin),
        cluster_role("system:aggregate-to-edit", &["aggregate-to-edit"], edit),
        cluster_role("system:aggregate-to-view", &["aggregate-to-view"], view),
    ]
}

fn for_components() -> Vec<Value> {
    let reviews = || {
        vec![
            rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
            rule(&["create"], &["authorization.k8s.io"], &["subjectaccessreviews"]),
        ]
    };
    let mut node = reviews();
    node.extend([
        rule(
            READ,
            &[""],
            &["configmaps", "endpoints", "namespaces", "nodes", "pods", "secrets", "serviceaccounts", "services"],
        ),
        rule(&["create", "delete", "patch", "update"], &[""], &["nodes", "nodes/status", "pods", "pods/status"]),
        rule(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]),
        rule(&["create"], &[""], &["pods/eviction", "serviceaccounts/token"]),
        rule(&["create", "delete", "get", "patch", "update"], &["coordination.k8s.io"], &["leases"]),
        rule(READ, &["node.k8s.io"], &["runtimeclasses"]),
        rule(READ, &["storage.k8s.io"], &["csidrivers"]),
    ]);
    let mut scheduler = reviews();
    scheduler.extend([
        rule(READ, ALL, ALL),
        rule(&["create"], &[""], &["bindings", "pods/binding"]),
        rule(&["delete", "patch", "update"], &[""], &["pods", "pods/status"]),
        rule(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]),
        rule(&["create", "get", "update"], &["coordination.k8s.io"], &["leases"]),
    ]);
    vec![
        cluster_role("system:auth-delegator", &[], reviews()),
        cluster_role("system:node", &[], node),
        cluster_role("system:kube-scheduler", &[], scheduler),
        cluster_role("system:kube-controller-manager", &[], vec![rule(ALL, ALL, ALL)]),
    ]
}

/// The ClusterRoleBindings.
pub(crate) fn cluster_role_bindings() -> Vec<Value> {
    const EVERYBODY: [&str; 2] = ["system:authenticated", "system:unauthenticated"];
    vec![
        cluster_role_binding("cluster-admin", &["system:masters"], &[]),
        cluster_role_binding("system:discovery", &["system:authenticated"], &[]),
        cluster_role_binding("system:public-info-viewer", &EVERYBODY, &[]),
        cluster_role_binding("system:basic-user", &["system:authenticated"], &[]),
        cluster_role_binding("system:service-account-issuer-discovery", &["system:serviceaccounts"], &[]),
        cluster_role_binding("system:monitoring", &["system:monitoring"], &[]),
        cluster_role_binding("system:kube-scheduler", &[], &["system:kube-scheduler"]),
        cluster_role_binding("system:kube-controller-manager", &[], &["system:kube-controller-manager"]),
        cluster_role_binding("system:node", &["system:nodes"], &[]),
    ]
}
