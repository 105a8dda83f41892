//! Who may do what: the identities of Knative Serving's parts, as data for the binary to install and to act as.
//!
//! Names are Knative's. The rules are what our parts use, which is less than Knative's; `knative-serving-namespaced-{admin,edit,view}` are
//! for people, and are Knative's.

use k8s_openapi::api::rbac::v1::PolicyRule;
use knative_apis::meta::{
    AUTOSCALING_INTERNAL_GROUP, CACHING_INTERNAL_GROUP, NETWORKING_INTERNAL_GROUP, SERVING_GROUP,
};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "delete"];
const CHANGE: &[&str] = &["update"];

/// A part's identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The name of its service account in the system namespace.
    pub service_account: &'static str,
    /// The name of its ClusterRole.
    pub cluster_role: &'static str,
    /// What it may do, in every namespace.
    pub rules: Vec<PolicyRule>,
}

/// A ClusterRole for people, added to one of Kubernetes' own.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregatedRole {
    /// Its name.
    pub name: &'static str,
    /// The label that adds it.
    pub aggregation_label: &'static str,
    /// What it allows.
    pub rules: Vec<PolicyRule>,
}

/// The identities of the parts: the controllers (with the autoscaler) and the data plane.
pub fn identities() -> Vec<Identity> {
    vec![
        Identity { service_account: "controller", cluster_role: "knative-serving-core", rules: controller_rules() },
        Identity {
            service_account: "activator",
            cluster_role: "knative-serving-activator-cluster",
            rules: activator_rules(),
        },
        Identity { service_account: "gateway", cluster_role: "knative-serving-gateway", rules: gateway_rules() },
    ]
}

fn controller_rules() -> Vec<PolicyRule> {
    vec![
        rule("", &["configmaps", "namespaces", "pods"], READ),
        // Only ever tried.
        rule("", &["pods"], &["create"]),
        // Secrets: what certificates are kept in.
        rule("", &["services", "endpoints", "secrets"], WRITE),
        // Endpoints that name addresses of Pods of other namespaces: the activator's.
        rule("", &["endpoints/restricted"], &["create"]),
        rule("discovery.k8s.io", &["endpointslices/restricted"], &["create"]),
        // Certificates that a namespace owns hold up its end.
        rule("", &["namespaces/finalizers"], CHANGE),
        rule("", &["events"], &["create", "patch"]),
        rule("apps", &["deployments"], WRITE),
        rule("apps", &["deployments/scale"], CHANGE),
        rule("autoscaling", &["horizontalpodautoscalers"], WRITE),
        rule("coordination.k8s.io", &["leases"], WRITE),
        rule(SERVING_GROUP, &["services", "configurations", "revisions", "routes", "domainmappings"], WRITE),
        rule(AUTOSCALING_INTERNAL_GROUP, &["podautoscalers", "metrics"], WRITE),
        rule(
            NETWORKING_INTERNAL_GROUP,
            &["serverlessservices", "ingresses", "certificates", "clusterdomainclaims"],
            WRITE,
        ),
        rule(CACHING_INTERNAL_GROUP, &["images"], WRITE),
        // Finalizers: an owner reference that holds up the owner's deletion.
        rule(SERVING_GROUP, &["*/status", "*/finalizers"], CHANGE),
        rule(AUTOSCALING_INTERNAL_GROUP, &["*/status", "*/finalizers"], CHANGE),
        rule(NETWORKING_INTERNAL_GROUP, &["*/status", "*/finalizers"], CHANGE),
    ]
}

fn activator_rules() -> Vec<PolicyRule> {
    vec![
        rule("", &["configmaps", "services", "endpoints", "pods"], READ),
        rule("discovery.k8s.io", &["endpointslices"], READ),
        rule(SERVING_GROUP, &["revisions"], READ),
        rule(NETWORKING_INTERNAL_GROUP, &["serverlessservices"], READ),
    ]
}

fn gateway_rules() -> Vec<PolicyRule> {
    vec![
        rule("", &["configmaps", "services", "endpoints", "secrets"], READ),
        rule("discovery.k8s.io", &["endpointslices"], READ),
        rule(NETWORKING_INTERNAL_GROUP, &["ingresses", "serverlessservices"], READ),
    ]
}

/// The roles for people.
pub fn aggregated_roles() -> Vec<AggregatedRole> {
    let internal = [NETWORKING_INTERNAL_GROUP, AUTOSCALING_INTERNAL_GROUP, CACHING_INTERNAL_GROUP];
    let read_internal = || internal.map(|group| rule(group, &["*"], READ));
    let with = |verbs: &[&str]| std::iter::once(rule(SERVING_GROUP, &["*"], verbs)).chain(read_internal()).collect();
    vec![
        AggregatedRole {
            name: "knative-serving-namespaced-admin",
            aggregation_label: "rbac.authorization.k8s.io/aggregate-to-admin",
            rules: with(&["*"]),
        },
        AggregatedRole {
            name: "knative-serving-namespaced-edit",
            aggregation_label: "rbac.authorization.k8s.io/aggregate-to-edit",
            rules: with(&["create", "update", "patch", "delete"]),
        },
        AggregatedRole {
            name: "knative-serving-namespaced-view",
            aggregation_label: "rbac.authorization.k8s.io/aggregate-to-view",
            rules: with(READ),
        },
    ]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the controllers' rules allow a verb on a resource.
    fn may(verb: &str, group: &str, resource: &str) -> bool {
        let has = |texts: &[String], text: &str| texts.iter().any(|known| known == text);
        let is_meant = |rule: &PolicyRule, resource: &str| {
            has(rule.api_groups.as_deref().unwrap_or_default(), group)
                && has(rule.resources.as_deref().unwrap_or_default(), resource)
                && has(&rule.verbs, verb)
        };
        let wildcard = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        controller_rules()
            .iter()
            .any(|rule| is_meant(rule, resource) || wildcard.as_ref().is_some_and(|wildcard| is_meant(rule, wildcard)))
    }

    /// Every write that a controller declares is allowed.
    #[test]
    fn the_rules_cover_what_the_controllers_declare() {
        use base_controller::writers::What;
        for (controller, writes) in crate::declarations() {
            for write in writes {
                let plural = match write.kind {
                    "Scale" => "deployments/scale".to_owned(),
                    "Endpoints" => "endpoints".to_owned(),
                    "Ingress" => "ingresses".to_owned(),
                    kind => format!("{}s", kind.to_ascii_lowercase()),
                };
                let (verbs, resource): (&[&str], _) = match write.what {
                    What::Child => (&["create", "update"], plural),
                    What::Fields(_) | What::Finalizer(_) => (&["update"], plural),
                    What::Status(_) => (&["update"], format!("{plural}/status")),
                    What::Deletion => (&["delete"], plural),
                };
                for verb in verbs {
                    assert!(may(verb, write.group, &resource), "{controller}: {verb} {} {resource}", write.group);
                }
            }
        }
    }
}
