//! One rule of a role: which verbs on which resources or paths.

use serde_json::{Value, json};

use super::Attributes;
use crate::value::strings_at;

/// A `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

impl Rule {
    /// Reads the JSON form.
    pub(crate) fn of(rule: &Value) -> Self {
        let texts = |name: &str| strings_at(rule, &[name]).into_iter().map(str::to_owned).collect();
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// The JSON form.
    pub(crate) fn to_value(&self) -> Value {
        let mut rule = json!({"verbs": self.verbs});
        let lists = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            rule[name] = json!(list);
        }
        rule
    }

    /// Whether it allows something.
    pub(crate) fn allows(&self, ask: &Attributes<'_>) -> bool {
        if !has(&self.verbs, ask.verb) {
            return false;
        }
        if !ask.path.is_empty() {
            return self.paths.iter().any(|path| covers_path(path, ask.path));
        }
        has(&self.groups, ask.group)
            && self.resources.iter().any(|resource| covers_resource(resource, ask.resource, ask.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == ask.name))
    }

    /// Whether it allows everything that `other`, which names one thing of each sort, allows.
    fn covers_one(&self, other: &Self) -> bool {
        let all = |owned: &[String], wanted: &[String]| wanted.iter().all(|one| has(owned, one));
        let resource = |one: &String| {
            let (resource, sub) = one.split_once('/').unwrap_or((one, ""));
            self.resources.iter().any(|owned| owned == one || covers_resource(owned, resource, sub))
        };
        all(&self.verbs, &other.verbs)
            && all(&self.groups, &other.groups)
            && other.resources.iter().all(resource)
            && other.paths.iter().all(|path| self.paths.iter().any(|owned| owned == path || covers_path(owned, path)))
            // A name is a name: unlike elsewhere, `*` stands for itself.
            && (self.names.is_empty()
                || (!other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name))))
    }

    /// Into how many rules that name one thing of each sort it would fall.
    pub(crate) fn parts(&self) -> usize {
        let resources = self.groups.len().saturating_mul(self.resources.len()).saturating_mul(self.names.len().max(1));
        self.verbs.len().saturating_mul(self.paths.len().saturating_add(resources))
    }

    /// The rule as rules that name one thing of each sort.
    fn break_down(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        for verb in &self.verbs {
            let one = |text: &String| vec![text.clone()];
            parts.extend(self.paths.iter().map(|path| Self { verbs: one(verb), paths: one(path), ..Self::default() }));
            for group in &self.groups {
                for resource in &self.resources {
                    let part =
                        Self { verbs: one(verb), groups: one(group), resources: one(resource), ..Self::default() };
                    if self.names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    parts.extend(self.names.iter().map(|name| Self { names: one(name), ..part.clone() }));
                }
            }
        }
        parts
    }

    /// What this rule allows and `owned` do not, as small rules.
    pub(crate) fn beyond(&self, owned: &[Self]) -> Vec<Self> {
        self.break_down().into_iter().filter(|part| !owned.iter().any(|rule| rule.covers_one(part))).collect()
    }

    /// As Kubernetes shows a rule in refusals.
    pub(crate) fn shown(&self) -> String {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let quoted = |list: &[String]| list.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(" ");
        let parts =
            lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}:[{}]", quoted(list)));
        format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

fn covers_path(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn covers_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match (rule.split_once('/'), subresource) {
        (None, "") => rule == resource,
        (Some(("*", sub)), wanted) => !wanted.is_empty() && sub == wanted,
        (Some((of, sub)), wanted) => of == resource && sub == wanted,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> Rule {
        Rule::of(&value)
    }

    #[test]
    fn resources_names_and_paths() {
        let pods = rule(
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/scale"], "resourceNames": ["a"]}),
        );
        let ask = Attributes { verb: "get", resource: "pods", name: "a", ..Attributes::default() };
        assert!(pods.allows(&ask));
        assert!(!pods.allows(&Attributes { name: "b", ..ask }));
        assert!(!pods.allows(&Attributes { verb: "watch", ..ask }));
        assert!(!pods.allows(&Attributes { subresource: "log", ..ask }));
        assert!(pods.allows(&Attributes { resource: "things", subresource: "scale", ..ask }));
        let paths = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
        let ask = Attributes { verb: "get", path: "/api/v1", ..Attributes::default() };
        assert!(paths.allows(&ask));
        assert!(!paths.allows(&Attributes { path: "/metrics", ..ask }));
        assert!(!paths.allows(&Attributes { path: "", resource: "pods", ..ask }));
        assert_eq!(rule(paths.to_value()), paths);
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        let mine = [
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
            rule(json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]})),
        ];
        let wanted = rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}));
        let beyond = wanted.beyond(&mine);
        assert_eq!(
            beyond.iter().map(Rule::shown).collect::<Vec<_>>(),
            ["{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"]
        );
        let inside = rule(json!({"verbs": ["delete"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}));
        assert!(inside.beyond(&mine).is_empty());
        let named = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}));
        assert!(named.beyond(&mine).is_empty());
        let star = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["*"]}));
        assert_eq!(named.beyond(&[star]).len(), 1, "no name is a pattern");
        assert_eq!((wanted.parts(), rule(json!({"verbs": ["get"], "nonResourceURLs": ["/a", "/b"]})).parts()), (2, 2));
        assert_eq!(rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})).beyond(&[named]).len(), 1);
    }
}
