//! Nobody grants what they do not hold: checks on writes of roles and bindings.
//!
//! Who may `escalate` a role or `bind` one is exempt. A write that changes nothing but what the garbage collector goes by is not checked;
//! any other is, even of labels alone, because roles are gathered by label. Specified by Kubernetes' `rbac` registries.

use serde_json::Value;

use super::{Attributes, Policy, Rbac, Rule};
use crate::identity::{Identity, MASTERS};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::value::{as_object, child_mut, list_at, str_at};

/// The group whose kinds are checked.
const GROUP: &str = "rbac.authorization.k8s.io";
/// Rules that fall into more parts than this are not compared one by one.
const MAX_PARTS: usize = 100_000;

/// Checks a create or an update of any kind.
///
/// # Errors
/// 403 if the writer would grant more than they hold, 404 for a role that does not exist.
pub(crate) fn check(
    rbac: &Rbac,
    identity: &Identity,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    let is_exempt = resource.group != GROUP || identity.is_in(MASTERS);
    if is_exempt || old.is_some_and(|old| without_collector_fields(old) == without_collector_fields(new)) {
        return Ok(());
    }
    let policy = rbac.policy();
    let writer = Writer { policy: &policy, identity, namespace: str_at(new, &["metadata", "namespace"]) };
    let name = str_at(new, &["metadata", "name"]);
    match resource.plural.as_str() {
        "roles" | "clusterroles" if writer.may("escalate", &resource.plural, name) => Ok(()),
        "roles" | "clusterroles" => {
            let rules: Vec<Rule> = list_at(new, &["rules"]).iter().map(Rule::of).collect();
            writer.check_holds(&rules).map_err(|why| resource.forbidden(name, &why))?;
            // What is gathered later is not known now.
            if (aggregates(new) || old.is_some_and(aggregates)) && writer.check_holds(&everything()).is_err() {
                return Err(resource.forbidden(name, "must have cluster-admin privileges to use the aggregationRule"));
            }
            Ok(())
        }
        "rolebindings" | "clusterrolebindings" => {
            let role = str_at(new, &["roleRef", "name"]);
            let is_cluster_role = str_at(new, &["roleRef", "kind"]) == "ClusterRole";
            let plural = if is_cluster_role { "clusterroles" } else { "roles" };
            if writer.may("bind", plural, role) {
                return Ok(());
            }
            // A binding to a role that comes later would grant whatever it will say.
            let rules = policy.role(is_cluster_role, writer.namespace, role);
            let rules = rules.ok_or_else(|| StatusError::not_found(GROUP, plural, role))?;
            writer.check_holds(rules).map_err(|why| resource.forbidden(name, &why))
        }
        _ => Ok(()),
    }
}

/// Who writes, and where.
struct Writer<'a> {
    policy: &'a Policy,
    identity: &'a Identity,
    namespace: &'a str,
}

impl Writer<'_> {
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let ask = Attributes { verb, group: GROUP, resource, namespace: self.namespace, name, ..Attributes::default() };
        self.policy.allows(self.identity, &ask)
    }

    /// # Errors
    /// Why they may not grant `wanted`, in Kubernetes' words.
    fn check_holds(&self, wanted: &[Rule]) -> std::result::Result<(), String> {
        let parts = wanted.iter().map(Rule::parts).fold(0, usize::saturating_add);
        if parts > MAX_PARTS {
            return Err(format!("the rules name {parts} combinations, more than {MAX_PARTS}"));
        }
        let owned: Vec<Rule> = self.policy.rules(self.identity, self.namespace).cloned().collect();
        let beyond: Vec<Rule> = wanted.iter().flat_map(|rule| rule.beyond(&owned)).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        let groups = self.identity.groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(" ");
        let rules = beyond.iter().map(Rule::shown).collect::<Vec<_>>().join("\n");
        Err(format!(
            "user \"{}\" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{rules}",
            self.identity.username
        ))
    }
}

/// Rules that allow everything.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), paths: all(), ..Rule::default() },
    ]
}

fn aggregates(role: &Value) -> bool {
    !list_at(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
}

/// An object without what the garbage collector changes.
fn without_collector_fields(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = as_object(child_mut(&mut object, "metadata"));
    for name in ["ownerReferences", "finalizers", "managedFields"] {
        metadata.remove(name);
    }
    object
}
