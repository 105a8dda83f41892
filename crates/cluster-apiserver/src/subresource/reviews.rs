//! Questions about identities and rules: who am I, whose token is this, may they do that.

use serde_json::{Value, json};

use crate::authz::Attributes;
use crate::identity::Identity;
use crate::status::{Result, StatusError};
use crate::value::{at, entries_at, str_at, strings_at};
use crate::verbs::Ask;

/// `SelfSubjectReview`: who the caller is.
pub(super) fn self_subject(ask: &Ask, mut review: Value) -> Value {
    review["metadata"] = json!({"creationTimestamp": ask.core.now_text()});
    review["status"] = json!({"userInfo": ask.caller.identity.to_value()});
    review
}

/// `TokenReview`: whose token it is.
pub(super) fn token(ask: &Ask, mut review: Value) -> Result<Value> {
    let token = str_at(&review, &["spec", "token"]);
    if token.is_empty() {
        return Err(StatusError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = strings_at(&review, &["spec", "audiences"]).into_iter().map(str::to_owned).collect();
    review["status"] = match ask.core.authenticator.token(token, &audiences, ask.core.clock.now()) {
        Some((user, audiences)) => json!({"authenticated": true, "user": user.to_value(), "audiences": audiences}),
        None => json!({"user": {}, "error": "[invalid bearer token]"}),
    };
    Ok(review)
}

/// `SelfSubjectAccessReview`: whether the caller may.
pub(super) fn self_access(ask: &Ask, review: Value) -> Result<Value> {
    let identity = ask.caller.identity.clone();
    decide(ask, review, &identity)
}

/// `SubjectAccessReview` and `LocalSubjectAccessReview`: whether somebody may.
pub(super) fn access(ask: &Ask, review: Value, namespace: &str) -> Result<Value> {
    let spec = &review["spec"];
    let asked = str_at(spec, &["resourceAttributes", "namespace"]);
    if !namespace.is_empty() && asked != namespace {
        let message = "spec.resourceAttributes.namespace must match the namespace of the request";
        return Err(StatusError::bad_request(message));
    }
    let texts = |name: &str| strings_at(spec, &[name]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let identity = Identity {
        username: str_at(spec, &["user"]).to_owned(),
        uid: str_at(spec, &["uid"]).to_owned(),
        groups: texts("groups"),
        extra: entries_at(spec, &["extra"])
            .map(|(key, values)| (key.to_owned(), strings_at(values, &[]).into_iter().map(str::to_owned).collect()))
            .collect(),
    };
    if identity.username.is_empty() && identity.groups.is_empty() {
        let kind = str_at(&review, &["kind"]);
        let field = crate::status::top("spec");
        let why = "at least one of user or group must be specified";
        let error = crate::field_error::FieldError::invalid(&field.child("user"), "", why);
        return Err(StatusError::invalid("authorization.k8s.io", kind, "", &[error]));
    }
    decide(ask, review, &identity)
}

fn decide(ask: &Ask, mut review: Value, identity: &Identity) -> Result<Value> {
    let spec = &review["spec"];
    let of_resource = at(spec, &["resourceAttributes"]);
    let of_path = at(spec, &["nonResourceAttributes"]);
    let wanted = match (of_resource, of_path) {
        (Some(wanted), None) => Attributes {
            verb: str_at(wanted, &["verb"]),
            group: str_at(wanted, &["group"]),
            resource: str_at(wanted, &["resource"]),
            subresource: str_at(wanted, &["subresource"]),
            namespace: str_at(wanted, &["namespace"]),
            name: str_at(wanted, &["name"]),
            path: "",
        },
        (None, Some(wanted)) => {
            Attributes { verb: str_at(wanted, &["verb"]), path: str_at(wanted, &["path"]), ..Attributes::default() }
        }
        _ => {
            let message = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(StatusError::bad_request(message));
        }
    };
    let is_allowed = ask.core.rbac.allows(identity, &wanted);
    review["status"] = json!({"allowed": is_allowed});
    Ok(review)
}

/// `SelfSubjectRulesReview`: what the caller may in a namespace.
pub(super) fn self_rules(ask: &Ask, mut review: Value) -> Result<Value> {
    let namespace = str_at(&review, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(StatusError::bad_request("no namespace on request"));
    }
    let policy = ask.core.rbac.policy();
    let mut resources: Vec<Value> = Vec::new();
    let mut paths: Vec<Value> = Vec::new();
    let add = |list: &mut Vec<Value>, rule: Value| {
        if !list.contains(&rule) {
            list.push(rule);
        }
    };
    for rule in policy.rules(&ask.caller.identity, &namespace) {
        let list = if rule.resources.is_empty() { &mut paths } else { &mut resources };
        add(list, rule.to_value());
    }
    if ask.caller.identity.is_in(crate::identity::MASTERS) {
        add(&mut resources, json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        add(&mut paths, json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    review["spec"] = json!({});
    review["status"] = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    Ok(review)
}
