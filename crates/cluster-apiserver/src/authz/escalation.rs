//! Nobody grants what they do not hold: checks on writes of roles and bindings.
//!
//! Who may `escalate` a role or `bind` one is exempt, as in Kubernetes.

use serde_json::Value;

use super::{Attributes, Rbac, Rule};
use crate::identity::{Identity, MASTERS};
use crate::registry::Resource;
use crate::status::Result;
use crate::value::{list_at, str_at};

/// The group whose kinds are checked.
const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a create or an update of any kind.
///
/// # Errors
/// 403 if the writer would grant more than they hold.
pub(crate) fn check(
    rbac: &Rbac,
    identity: &Identity,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if resource.group != GROUP || identity.is_in(MASTERS) {
        return Ok(());
    }
    let namespace = str_at(new, &["metadata", "namespace"]);
    let name = str_at(new, &["metadata", "name"]);
    let is_unchanged = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
    let may = |verb, resource, name| {
        let ask = Attributes { verb, group: GROUP, resource, namespace, name, ..Attributes::default() };
        rbac.allows(identity, &ask)
    };
    let wanted = match resource.plural.as_str() {
        "roles" | "clusterroles" => {
            if is_unchanged("rules") && is_unchanged("aggregationRule") || may("escalate", &resource.plural, name) {
                return Ok(());
            }
            list_at(new, &["rules"]).iter().map(Rule::of).collect()
        }
        "rolebindings" | "clusterrolebindings" => {
            if is_unchanged("roleRef") && is_unchanged("subjects") {
                return Ok(());
            }
            let role = str_at(new, &["roleRef", "name"]);
            let is_cluster_role = str_at(new, &["roleRef", "kind"]) == "ClusterRole";
            if may("bind", if is_cluster_role { "clusterroles" } else { "roles" }, role) {
                return Ok(());
            }
            rbac.policy().role(is_cluster_role, namespace, role).to_vec()
        }
        _ => return Ok(()),
    };
    let policy = rbac.policy();
    let owned: Vec<Rule> = policy.rules(identity, namespace).cloned().collect();
    let beyond: Vec<Rule> = wanted.iter().flat_map(|rule| rule.beyond(&owned)).collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let groups = identity.groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(" ");
    let rules = beyond.iter().map(Rule::shown).collect::<Vec<_>>().join("\n");
    let why = format!(
        "user \"{}\" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{rules}",
        identity.username
    );
    Err(resource.forbidden(name, &why))
}
