//! What is recorded of which requests: `audit.k8s.io/v1` `Policy`. The first rule that fits decides; without one nothing is recorded.

use serde::Deserialize;
use serde_json::Value;

use crate::field_error::{FieldError, FieldPath, aggregate};
use crate::http::path::RequestPath;
use crate::identity::Identity;
use crate::names;
use crate::status::top;
use crate::strict;

const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// A policy that has been checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    level: String,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no YAML or JSON, or not of its kind.
    #[error("failed decoding: {0}")]
    Undecodable(String),
    /// It is another kind of object.
    #[error("unknown group version field {0} in policy")]
    Foreign(String),
    /// Some of its fields are wrong.
    #[error("{0}")]
    Invalid(String),
    /// It has no rules.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    /// `None` if nothing is.
    fn of(name: &str) -> Option<Self> {
        match name {
            "Metadata" => Some(Self::Metadata),
            "Request" => Some(Self::Request),
            "RequestResponse" => Some(Self::RequestResponse),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A request, as rules look at it.
pub(super) struct Asked<'a> {
    pub(super) who: Option<&'a Identity>,
    pub(super) verb: &'a str,
    pub(super) path: &'a str,
    pub(super) of: &'a RequestPath,
}

/// What is recorded of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) level: Level,
    pub(super) omitted_stages: Vec<String>,
    pub(super) omits_managed_fields: bool,
}

impl Policy {
    /// Reads a policy, YAML or JSON, and checks it.
    ///
    /// # Errors
    /// What is wrong with it, in kube-apiserver's words; also fields that are not known, which that one only warns of.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let undecodable = |error: &dyn std::fmt::Display| PolicyError::Undecodable(error.to_string());
        let value = strict::parse_yaml(text).map_err(|error| undecodable(&error))?.value;
        let policy: Self = serde_json::from_value(value).map_err(|error| undecodable(&error))?;
        let Self { api_version, kind, .. } = &policy;
        if (api_version.as_str(), kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(PolicyError::Foreign(format!("{api_version}, Kind={kind}")));
        }
        let mut errors = stage_errors(&policy.omit_stages, &top("omitStages"));
        for (index, rule) in policy.rules.iter().enumerate() {
            errors.extend(rule.errors(&top("rules").index(index)));
        }
        match (errors.is_empty(), policy.rules.is_empty()) {
            (false, _) => Err(PolicyError::Invalid(aggregate(&errors))),
            (true, true) => Err(PolicyError::Empty),
            (true, false) => Ok(policy),
        }
    }

    /// The metadata of every request, and no bodies, in which Secrets could stand.
    pub fn metadata() -> Self {
        let rule = Rule {
            level: Level::Metadata.as_str().to_owned(),
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: Vec::new(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            urls: Vec::new(),
            omit_stages: Vec::new(),
            omit_managed_fields: None,
        };
        Self {
            api_version: String::new(),
            kind: String::new(),
            _metadata: Value::Null,
            rules: vec![rule],
            omit_stages: vec!["RequestReceived".to_owned()],
            omit_managed_fields: true,
        }
    }

    /// What is recorded of a request, if anything is.
    pub(super) fn rule(&self, asked: &Asked<'_>) -> Option<Recorded> {
        let rule = self.rules.iter().find(|rule| rule.fits(asked))?;
        Some(Recorded {
            level: Level::of(&rule.level)?,
            omitted_stages: [self.omit_stages.as_slice(), &rule.omit_stages].concat(),
            omits_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        })
    }
}

impl Rule {
    fn errors(&self, at: &FieldPath<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        match self.level.as_str() {
            "" => errors.push(FieldError::required(&at.child("level"), "")),
            level if !LEVELS.contains(&level) => {
                errors.push(FieldError::not_supported(&at.child("level"), level, &LEVELS));
            }
            _ => {}
        }
        let urls = at.child("nonResourceURLs");
        for (index, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut wrong = |why| errors.push(FieldError::invalid(&urls.index(index), url, why));
            if !url.starts_with('/') {
                wrong("non-resource URL rules must begin with a '/' character");
            }
            if url.trim_end_matches('*').contains('*') || url.ends_with("**") {
                wrong("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        for resources in &self.resources {
            let field = at.child("resources");
            let Resources { group, resources, resource_names } = resources;
            let wrong = if group == "*" || group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(&field.child("group"), group, &wrong.join(",")));
            }
            if !resource_names.is_empty() && resources.is_empty() {
                let names = Value::from(resource_names.clone());
                let why = "using resourceNames requires at least one resource";
                errors.push(FieldError::invalid(&field.child("resourceNames"), &names, why));
            }
        }
        errors.extend(stage_errors(&self.omit_stages, &at.child("omitStages")));
        let names_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if names_resources && !self.urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&urls, &Value::from(self.urls.clone()), why));
        }
        errors
    }

    fn fits(&self, asked: &Asked<'_>) -> bool {
        let fits = |list: &[String], found: bool| list.is_empty() || found;
        let who = asked.who;
        let is_user = who.is_some_and(|who| self.users.contains(&who.username));
        let is_in_group = who.is_some_and(|who| self.user_groups.iter().any(|group| who.is_in(group)));
        if !fits(&self.users, is_user)
            || !fits(&self.user_groups, is_in_group)
            || !fits(&self.verbs, has(&self.verbs, asked.verb))
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.fits_resource(asked.of);
        }
        let fits_url = |url: &String| match url.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix),
            None => url == asked.path,
        };
        self.urls.is_empty() || matches!(asked.of, RequestPath::Other) && self.urls.iter().any(fits_url)
    }

    fn fits_resource(&self, of: &RequestPath) -> bool {
        let RequestPath::Resource(path) = of else { return false };
        if !self.namespaces.is_empty() && !has(&self.namespaces, &path.namespace) {
            return false;
        }
        let (plural, sub) = (path.plural.as_str(), path.subresource.as_str());
        let is_meant = |item: &String| match item.split_once('/') {
            None => item == "*" || (item == plural && sub.is_empty()),
            Some(("*", of)) => of == sub,
            Some((of, "*")) => of == plural,
            Some((of, below)) => of == plural && below == sub,
        };
        let fits = |entry: &Resources| {
            (entry.group == "*" || entry.group == path.group)
                && (entry.resources.is_empty()
                    || (entry.resource_names.is_empty() || has(&entry.resource_names, &path.name))
                        && entry.resources.iter().any(is_meant))
        };
        self.resources.is_empty() || self.resources.iter().any(fits)
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

fn stage_errors(stages: &[String], at: &FieldPath<'_>) -> Vec<FieldError> {
    let unknown = stages.iter().enumerate().filter(|(_, stage)| !STAGES.contains(&stage.as_str()));
    let why = format!("allowed stages are {}", STAGES.join(","));
    unknown.map(|(index, stage)| FieldError::invalid(&at.index(index), stage, &why)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Policy, PolicyError> {
        Policy::parse(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}").as_bytes())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = parse(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:
- {level: None, users: ['system:node'], verbs: [watch]}
- {level: None, nonResourceURLs: ['/healthz*', /version]}
- {level: Metadata, resources: [{group: '', resources: [secrets, pods/log, '*/exec']}], omitStages: [ResponseStarted]}
- {level: Request, resources: [{group: apps, resources: [deployments], resourceNames: [a]}], namespaces: ['n']}
- {level: RequestResponse, userGroups: [g], omitManagedFields: false, resources: [{group: '*'}]}
",
        )
        .expect("a policy");
        let level = |user: &str, verb: &str, path: &str| {
            let who = Identity::user(user, if user == "carol" { vec!["g"] } else { vec![] });
            let of = RequestPath::parse(path);
            policy.rule(&Asked { who: Some(&who), verb, path, of: &of }).map(|rule| rule.level.as_str())
        };
        for (user, verb, path, wanted) in [
            ("system:node", "watch", "/api/v1/secrets", None),
            ("system:node", "list", "/api/v1/secrets", Some("Metadata")),
            ("a", "get", "/healthz/etcd", None),
            ("a", "get", "/api/v1/namespaces/n/pods/p/log", Some("Metadata")),
            ("a", "get", "/api/v1/namespaces/n/pods/p/exec", Some("Metadata")),
            ("a", "get", "/api/v1/namespaces/n/pods/p", None),
            ("a", "update", "/apis/apps/v1/namespaces/n/deployments/a", Some("Request")),
            ("a", "update", "/apis/apps/v1/namespaces/n/deployments/b", None),
            ("a", "update", "/apis/apps/v1/namespaces/m/deployments/a", None),
            ("carol", "update", "/apis/apps/v1/namespaces/m/deployments/a", Some("RequestResponse")),
            ("carol", "get", "/metrics", None),
        ] {
            assert_eq!(level(user, verb, path), wanted, "{user} {verb} {path}");
        }
        let of = RequestPath::parse("/api/v1/secrets");
        let nobody = policy.rule(&Asked { who: None, verb: "list", path: "/api/v1/secrets", of: &of }).expect("a rule");
        assert_eq!(nobody.omitted_stages, ["RequestReceived", "ResponseStarted"]);
        assert!(nobody.omits_managed_fields);
    }

    #[test]
    fn mistakes_are_worded_as_kubernetes_words_them() {
        let said = |rules: &str| parse(rules).expect_err(rules).to_string();
        assert_eq!(said(""), "loaded illegal policy with 0 rules");
        assert_eq!(said("rules: [{}]"), "rules[0].level: Required value");
        assert_eq!(
            said("rules: [{level: Metadata, nonResourceURLs: [/a], namespaces: [a]}]"),
            "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs"
        );
        assert_eq!(
            said("rules: [{level: Metadata, omitStages: [Later]}]"),
            "rules[0].omitStages[0]: Invalid value: \"Later\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"
        );
        assert!(
            said("rules: [{level: All}]").starts_with("rules[0].level: Unsupported value: \"All\": supported values")
        );
        assert!(said("rules: [{levels: All}]").contains("unknown field `levels`"));
        let foreign = Policy::parse(b"{apiVersion: audit.k8s.io/v2, kind: Policy, rules: []}").expect_err("foreign");
        assert_eq!(foreign.to_string(), "unknown group version field audit.k8s.io/v2, Kind=Policy in policy");
    }
}
