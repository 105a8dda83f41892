//! The stored roles and bindings, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, Rule};
use crate::identity::Identity;
use crate::selector::LabelSelector;
use crate::store::Stored;
use crate::value::{at, list_at, str_at};

/// Roles and bindings at one time.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster_roles: BTreeMap<String, Vec<Rule>>,
    roles: BTreeMap<(String, String), Vec<Rule>>,
    cluster_bindings: Vec<Binding>,
    bindings: BTreeMap<String, Vec<Binding>>,
}

#[derive(Debug)]
struct Binding {
    subjects: Vec<Subject>,
    role: String,
    is_cluster_role: bool,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let name = str_at(subject, &["name"]).to_owned();
        match str_at(subject, &["kind"]) {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                Some(Self::ServiceAccount { namespace: str_at(subject, &["namespace"]).to_owned(), name })
            }
            _ => None,
        }
    }

    fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == identity.username,
            Self::Group(name) => identity.is_in(name),
            Self::ServiceAccount { namespace, name } => {
                identity.as_service_account() == Some((namespace.as_str(), name.as_str()))
            }
        }
    }
}

impl Policy {
    /// Compiles stored objects; what cannot be read allows nothing.
    pub(super) fn of(
        cluster_roles: &[Arc<Stored>],
        roles: &[Arc<Stored>],
        cluster_bindings: &[Arc<Stored>],
        bindings: &[Arc<Stored>],
    ) -> Self {
        let parse = |stored: &Arc<Stored>| serde_json::from_slice::<Value>(&stored.body).unwrap_or_default();
        let mut policy = Self {
            cluster_roles: aggregate(cluster_roles, &parse),
            cluster_bindings: cluster_bindings.iter().map(|stored| Binding::of(&parse(stored))).collect(),
            ..Self::default()
        };
        for stored in roles {
            let key = (stored.key.namespace().to_owned(), stored.key.name().to_owned());
            policy.roles.insert(key, rules_of(&parse(stored)));
        }
        for stored in bindings {
            policy.bindings.entry(stored.key.namespace().to_owned()).or_default().push(Binding::of(&parse(stored)));
        }
        policy
    }

    /// The rules that bind an identity in a namespace (empty: cluster scope).
    pub(crate) fn rules<'a>(&'a self, identity: &'a Identity, namespace: &'a str) -> impl Iterator<Item = &'a Rule> {
        let of_cluster = self.cluster_bindings.iter();
        let of_namespace = self.bindings.get(namespace).into_iter().flatten();
        of_cluster
            .chain(of_namespace)
            .filter(|binding| binding.subjects.iter().any(|subject| subject.is(identity)))
            .filter_map(move |binding| self.role(binding.is_cluster_role, namespace, &binding.role))
            .flatten()
    }

    /// The rules of a role, if there is such a role.
    pub(crate) fn role(&self, is_cluster_role: bool, namespace: &str, name: &str) -> Option<&[Rule]> {
        let rules = if is_cluster_role {
            self.cluster_roles.get(name)
        } else {
            self.roles.get(&(namespace.to_owned(), name.to_owned()))
        };
        rules.map(Vec::as_slice)
    }

    pub(super) fn allows(&self, identity: &Identity, ask: &Attributes<'_>) -> bool {
        self.rules(identity, ask.namespace).any(|rule| rule.allows(ask))
    }
}

impl Binding {
    fn of(binding: &Value) -> Self {
        Self {
            subjects: list_at(binding, &["subjects"]).iter().filter_map(Subject::of).collect(),
            role: str_at(binding, &["roleRef", "name"]).to_owned(),
            is_cluster_role: str_at(binding, &["roleRef", "kind"]) == "ClusterRole",
        }
    }
}

fn rules_of(role: &Value) -> Vec<Rule> {
    list_at(role, &["rules"]).iter().map(Rule::of).collect()
}

/// The rules of ClusterRoles; a role with an aggregation rule also has those of the roles that it selects, and of what those select.
fn aggregate(stored: &[Arc<Stored>], parse: &impl Fn(&Arc<Stored>) -> Value) -> BTreeMap<String, Vec<Rule>> {
    let mut rules = BTreeMap::new();
    let mut selects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for role in stored {
        let value = parse(role);
        let selectors: Vec<LabelSelector> = list_at(&value, &["aggregationRule", "clusterRoleSelectors"])
            .iter()
            .filter_map(LabelSelector::of_object)
            .filter(|selector| !selector.is_everything())
            .collect();
        if at(&value, &["aggregationRule"]).is_some() {
            let chosen = stored.iter().filter(|other| selectors.iter().any(|selector| selector.matches(&other.labels)));
            selects.insert(role.key.name(), chosen.map(|other| other.key.name()).collect());
        }
        rules.insert(role.key.name().to_owned(), rules_of(&value));
    }
    let own = rules.clone();
    for (name, role) in &mut rules {
        let mut seen = vec![name.as_str()];
        let mut next = 0;
        while let Some(current) = seen.get(next).copied() {
            next += 1;
            for chosen in selects.get(current).into_iter().flatten() {
                if !seen.contains(chosen) {
                    seen.push(chosen);
                }
            }
        }
        for chosen in seen.iter().skip(1) {
            for rule in own.get(*chosen).into_iter().flatten() {
                if !role.contains(rule) {
                    role.push(rule.clone());
                }
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Labels, ObjectKey, Revision};
    use serde_json::json;

    fn stored(key: &str, value: Value) -> Arc<Stored> {
        let (labels, body) = (Labels::of(&value), value.to_string().into());
        Arc::new(Stored { key: ObjectKey::from(key), revision: Revision(1), shape: 0, labels, body })
    }

    fn role(verb: &str, labels: Value) -> Value {
        json!({"metadata": {"labels": labels}, "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
    }

    fn bind(kind: &str, name: &str, role_kind: &str, role: &str) -> Value {
        json!({"subjects": [{"kind": kind, "name": name, "namespace": "a"}], "roleRef": {"kind": role_kind, "name": role}})
    }

    #[test]
    fn bindings_roles_and_aggregation() {
        let cluster_roles = [
            stored("all", json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-all": "true"}}]}})),
            stored(
                "middle",
                json!({"metadata": {"labels": {"to-all": "true"}}, "rules": [],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-middle": "true"}}]}}),
            ),
            stored("leaf", role("get", json!({"to-middle": "true"}))),
        ];
        let roles = [stored("a/editor", role("update", json!({})))];
        let cluster_bindings = [stored("x", bind("Group", "readers", "ClusterRole", "all"))];
        let bindings = [
            stored("a/y", bind("ServiceAccount", "bot", "Role", "editor")),
            stored("b/z", bind("User", "eve", "ClusterRole", "leaf")),
        ];
        let policy = Policy::of(&cluster_roles, &roles, &cluster_bindings, &bindings);
        let ask = |identity: &Identity, verb, namespace| {
            policy.allows(identity, &Attributes { verb, namespace, resource: "pods", ..Attributes::default() })
        };
        let reader = Identity::user("r", ["readers"]);
        assert!(ask(&reader, "get", "a") && ask(&reader, "get", "") && !ask(&reader, "update", "a"));
        let bot = Identity::service_account("a", "bot");
        assert!(ask(&bot, "update", "a") && !ask(&bot, "update", "b") && !ask(&bot, "get", "a"));
        let eve = Identity::user("eve", [] as [&str; 0]);
        assert!(ask(&eve, "get", "b") && !ask(&eve, "get", "a"));
    }
}
