//! The bounds that a namespace's LimitRanges set: for containers, for Pods as a whole, for claims.
//!
//! They are looked at when a Pod is made or resized, and when a claim is made or changed; each range by itself, the first one that has something
//! against the object with all that it has. Specified by Kubernetes' plug-in `LimitRanger`.

use base_quota::amounts::Amounts;
use base_quota::pod::{Bound, stated};
use base_quota::quantity::Quantity;
use serde_json::Value;

use super::Operation;
use super::lookup::StoreLookup;
use crate::field_error::aggregate;
use crate::kinds::Lookup as _;
use crate::status::Result;
use crate::value::{at, list_at, str_at};
use crate::writes::Context;

/// # Errors
/// 403 if the object is outside of the bounds.
pub(crate) fn check(context: &Context<'_>, operation: Operation, object: &Value, old: Option<&Value>) -> Result<()> {
    let resource = context.resource;
    let is_pod = resource.is("", "pods");
    let is_looked_at = match (context.subresource, operation) {
        ("", Operation::Create) => is_pod || resource.is("", "persistentvolumeclaims"),
        ("", Operation::Update) => resource.is("", "persistentvolumeclaims"),
        ("resize", Operation::Update) => is_pod,
        _ => false,
    };
    if !is_looked_at || old.is_some_and(|old| at(old, &["metadata", "deletionTimestamp"]).is_some()) {
        return Ok(());
    }
    for range in StoreLookup(&context.core.store).list("", "limitranges", context.namespace) {
        let mut wrong = Vec::new();
        for item in list_at(&range, &["spec", "limits"]) {
            let takers = if is_pod { takers_of_pod(object, item) } else { takers_of_claim(object, item) };
            takers.iter().for_each(|taker| taker.check(item, &mut wrong));
        }
        if !wrong.is_empty() {
            return Err(resource.forbidden(str_at(object, &["metadata", "name"]), &aggregate(&wrong)));
        }
    }
    Ok(())
}

/// What has to be within bounds.
struct Taker {
    requests: Amounts,
    /// None for what knows no limits: a claim.
    limits: Option<Amounts>,
}

fn takers_of_pod(pod: &Value, item: &Value) -> Vec<Taker> {
    match str_at(item, &["type"]) {
        "Container" => {
            let containers = ["containers", "initContainers"].map(|list| list_at(pod, &["spec", list]));
            let amounts = |container: &Value, list: &str| {
                at(container, &["resources", list]).map(Amounts::of).unwrap_or_default()
            };
            let taker = |container: &Value| Taker {
                requests: amounts(container, "requests"),
                limits: Some(amounts(container, "limits")),
            };
            containers.into_iter().flatten().map(taker).collect()
        }
        "Pod" => vec![Taker { requests: stated(pod, Bound::Requests), limits: Some(stated(pod, Bound::Limits)) }],
        _ => Vec::new(),
    }
}

fn takers_of_claim(claim: &Value, item: &Value) -> Vec<Taker> {
    if str_at(item, &["type"]) != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let requests = at(claim, &["spec", "resources", "requests"]).map(Amounts::of).unwrap_or_default();
    vec![Taker { requests, limits: None }]
}

impl Taker {
    fn check(&self, item: &Value, wrong: &mut Vec<String>) {
        let kind = str_at(item, &["type"]);
        let bounds = |name: &str| at(item, &[name]).map(Amounts::of).unwrap_or_default();
        for (name, bound) in bounds("min").iter() {
            if let Some(why) = self.below(name, bound) {
                wrong.push(format!("minimum {name} usage per {kind} is {bound}{why}"));
            }
        }
        for (name, bound) in bounds("max").iter() {
            if let Some(why) = self.above(name, bound) {
                wrong.push(format!("maximum {name} usage per {kind} is {bound}{why}"));
            }
        }
        for (name, bound) in bounds("maxLimitRequestRatio").iter() {
            if let Some(why) = self.apart(name, bound) {
                wrong.push(format!("{name} max limit to request ratio per {kind} is {bound}, but {why}"));
            }
        }
    }

    fn limit(&self, name: &str) -> Option<&Quantity> {
        self.limits.as_ref().and_then(|limits| limits.get(name))
    }

    fn below(&self, name: &str, bound: &Quantity) -> Option<String> {
        let Some(request) = self.requests.get(name) else { return Some(".  No request is specified".to_owned()) };
        if request < bound {
            return Some(format!(", but request is {request}"));
        }
        self.limit(name).filter(|limit| *limit < bound).map(|limit| format!(", but limit is {limit}"))
    }

    fn above(&self, name: &str, bound: &Quantity) -> Option<String> {
        let request = self.requests.get(name);
        if self.limits.is_none() && request.is_none() {
            return Some(".  No request is specified".to_owned());
        }
        if self.limits.is_some() {
            let Some(limit) = self.limit(name) else { return Some(".  No limit is specified".to_owned()) };
            if limit > bound {
                return Some(format!(", but limit is {limit}"));
            }
        }
        request.filter(|request| *request > bound).map(|request| format!(", but request is {request}"))
    }

    /// How limit and request are too far apart.
    fn apart(&self, name: &str, bound: &Quantity) -> Option<String> {
        let Some(request) = self.requests.get(name).filter(|request| !request.is_zero()) else {
            return Some("no request is specified or request is 0".to_owned());
        };
        let Some(limit) = self.limit(name).filter(|limit| !limit.is_zero()) else {
            return Some("no limit is specified or limit is 0".to_owned());
        };
        let ratio = limit.approximate() / request.approximate();
        (ratio > bound.approximate()).then(|| format!("provided ratio is {ratio:.6}"))
    }
}
