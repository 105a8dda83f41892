//! Eviction: deletes a Pod, if its PodDisruptionBudget can spare it.
//!
//! ```text
//! pending, ended or ending Pod ─► deleted
//! no budget ─► deleted        unready, and the application does not suffer ─► deleted, if it is unready still
//! budget ─► disruptionsAllowed - 1, disruptedPods[pod] = now ─► deleted        nothing allowed ─► 429
//! ```
//! The budget is spent before the Pod goes, so two evictions cannot spend the same. Specified by kube-apiserver's
//! `registry/core/pod/storage/eviction.go`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::field_error::{FieldError, FieldPath};
use crate::http::query::{WriteOptions, dry_run};
use crate::negotiate::decode;
use crate::selector::LabelSelector;
use crate::status::{Cause, Details, Result, StatusError, success};
use crate::store::{ObjectKey, Stored, TableName};
use crate::value::{at, bool_at, i64_at, list_at, object_at, str_at, strings_at};
use crate::verbs::{Answer, Ask, Content};
use crate::writes::{self, Context, DeleteOptions, Next, SERVER};

/// How often an eviction is tried again because the Pod has changed meanwhile.
const ATTEMPTS: usize = 20;
/// When to ask again about a budget that has not been calculated yet.
const RETRY_AFTER_S: u32 = 10;
/// Evicted Pods that are not seen going: with more of them the budget's controller must be away.
const MAX_DISRUPTED_PODS: usize = 2000;
const VIOLATION: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// An eviction as it was asked for.
struct Eviction<'a> {
    ask: &'a Ask,
    options: DeleteOptions,
    is_dry_run: bool,
    /// What webhooks had to say.
    warnings: Vec<String>,
}

/// Evicts a Pod.
pub(super) async fn evict(ask: &Ask) -> Result<Answer> {
    let eviction = Eviction::read(ask).await?;
    let mut attempts = 0;
    loop {
        let pod = ask.resource.load(&*eviction.stored()?)?;
        if !is_beyond_budgets(&pod) {
            break;
        }
        attempts += 1;
        // A pending Pod may come to count.
        let is_over = str_at(&pod, &["status", "phase"]) != "Pending" || is_ending(&pod);
        let options = if is_over { eviction.options.clone() } else { eviction.as_seen(&pod) };
        match eviction.remove(&options).await {
            Err(conflict)
                if conflict.code == 409 && eviction.options.resource_version.is_none() && attempts < ATTEMPTS => {}
            done => return done.map(|()| eviction.done()),
        }
    }
    let stored = eviction.stored()?;
    let pod = ask.resource.load(&stored)?;
    let budgets = budgets(ask, &stored);
    if budgets.len() > 1 {
        return Ok(ambiguous());
    }
    let budget = budgets.first();
    let is_spared = budget.is_some_and(|budget| spares(budget, &pod));
    if let Some(budget) = budget.filter(|_| !is_spared) {
        eviction.spend(budget).await?;
    }
    let options = if is_spared { eviction.as_seen(&pod) } else { eviction.options.clone() };
    match (eviction.remove(&options).await, budget) {
        (Err(conflict), Some(budget))
            if is_spared && conflict.code == 409 && eviction.options.resource_version.is_none() =>
        {
            Err(unsettled(str_at(budget, &["metadata", "name"])))
        }
        (done, _) => done.map(|()| eviction.done()),
    }
}

impl<'a> Eviction<'a> {
    async fn read(ask: &'a Ask) -> Result<Self> {
        let write_options = WriteOptions::parse(&ask.query, "CreateOptions")?;
        let body = decode::body_of("policy", "v1", "Eviction", &ask.content_type, &ask.body)?.value;
        if str_at(&body, &["metadata", "name"]) != ask.name {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        let context = ask.context(write_options.is_dry_run);
        let mut warnings = Vec::new();
        let body = context.admit_posted(&ask.name, ("policy/v1", "Eviction"), body, &mut warnings).await?;
        let asked = &body["deleteOptions"];
        if bool_at(asked, &["ignoreStoreReadErrorWithClusterBreakingPotential"]) == Some(true) {
            let root = FieldPath::Root;
            let path = root.child("deleteOptions");
            let path = path.child("ignoreStoreReadErrorWithClusterBreakingPotential");
            let why = "can not be set for pod eviction, try after removing the option";
            let error = FieldError::invalid(&path, true, why);
            return Err(StatusError::invalid("policy", "Eviction", &ask.name, &[error]));
        }
        let text = |name: &str| at(asked, &["preconditions", name]).and_then(Value::as_str).map(str::to_owned);
        let is_dry_deletion = dry_run(strings_at(asked, &["dryRun"]).into_iter())
            .map_err(|error| StatusError::invalid("meta.k8s.io", "DeleteOptions", "", &[error]))?;
        let options = DeleteOptions {
            grace_period_s: i64_at(asked, &["gracePeriodSeconds"]),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..DeleteOptions::default()
        };
        Ok(Self { ask, options, is_dry_run: write_options.is_dry_run || is_dry_deletion, warnings })
    }

    fn done(self) -> Answer {
        let warnings = self.warnings;
        Answer { warnings, ..Answer::created(Content::Other(success(None::<Details>, Some(201)))) }
    }

    fn stored(&self) -> Result<Arc<Stored>> {
        let Ask { core, resource, namespace, name, .. } = self.ask;
        let pod = core.store.get(&resource.table, &ObjectKey::new(namespace, name));
        pod.ok_or_else(|| resource.not_found(name))
    }

    /// The options, for exactly this version of the Pod.
    fn as_seen(&self, pod: &Value) -> DeleteOptions {
        let seen = || str_at(pod, &["metadata", "resourceVersion"]).to_owned();
        let resource_version = self.options.resource_version.clone().or_else(|| Some(seen()));
        DeleteOptions { resource_version, ..self.options.clone() }
    }

    /// Takes one disruption from the budget, and notes for whom.
    async fn spend(&self, budget: &Value) -> Result<()> {
        let core = &self.ask.core;
        let Some(resource) = core.registry.builtin("policy", "poddisruptionbudgets") else {
            return Err(StatusError::no_such_resource());
        };
        let context = self.ask.context(self.is_dry_run);
        let context = Context { resource, subresource: "status", manager: SERVER, ..context };
        let now = core.now_text();
        let name = str_at(budget, &["metadata", "name"]);
        writes::update(&context, name, &mut |budget| spent(budget, &self.ask.name, &now).map(Next::Changed)).await?;
        Ok(())
    }

    /// Says why the Pod goes, and deletes it.
    async fn remove(&self, options: &DeleteOptions) -> Result<()> {
        // Webhooks were asked about the eviction.
        let context = Context { is_admitted: true, ..self.ask.context(self.is_dry_run) };
        let mut options = options.clone();
        if !self.is_dry_run {
            let context = Context { subresource: "status", ..context };
            let now = self.ask.core.now_text();
            let (resource, name) = (&self.ask.resource, &self.ask.name);
            let told = writes::update(&context, name, &mut |pod| {
                writes::check_preconditions(resource, name, pod, &options)?;
                Ok(Next::Owned(disrupted(pod, &now)))
            })
            .await?
            .value(&context)
            .await?;
            // It is this change that made the version another one.
            if let Some(version) = &mut options.resource_version {
                str_at(&told, &["metadata", "resourceVersion"]).clone_into(version);
            }
        }
        writes::delete(&Context { subresource: "", ..context }, &self.ask.name, &options).await?;
        Ok(())
    }
}

fn is_ending(pod: &Value) -> bool {
    at(pod, &["metadata", "deletionTimestamp"]).is_some()
}

/// Whether the end of a Pod disrupts nobody, whatever budgets say.
fn is_beyond_budgets(pod: &Value) -> bool {
    matches!(str_at(pod, &["status", "phase"]), "Pending" | "Succeeded" | "Failed") || is_ending(pod)
}

/// The budgets that are for a Pod.
fn budgets(ask: &Ask, pod: &Stored) -> Vec<Value> {
    let all = ask.core.store.list(&TableName::from("poddisruptionbudgets.policy"), &ask.prefix()).objects;
    let all = all.iter().filter_map(|stored| serde_json::from_slice::<Value>(&stored.body).ok());
    all.filter(|budget| {
        let selector = at(budget, &["spec", "selector"]).and_then(LabelSelector::of_object);
        selector.is_some_and(|selector| selector.matches(&pod.labels))
    })
    .collect()
}

/// Whether an unready Pod may go without costing the budget anything.
fn spares(budget: &Value, pod: &Value) -> bool {
    let number = |name: &str| i64_at(budget, &["status", name]).unwrap_or_default();
    let suffers_not = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    let is_allowed = str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    !is_ready(pod) && (is_allowed || suffers_not)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = list_at(pod, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| str_at(condition, &["type"]) == "Ready");
    ready.is_some_and(|ready| str_at(ready, &["status"]) == "True")
}

/// The budget with one disruption less.
fn spent(budget: &Value, pod: &str, now: &str) -> Result<Value> {
    let allowed = allowed(budget)? - 1;
    let mut spent = budget.clone();
    let status = object_at(&mut spent, &["status"]);
    status.insert("disruptionsAllowed".to_owned(), allowed.into());
    if allowed == 0 {
        let generation = at(budget, &["status", "observedGeneration"]).cloned().unwrap_or_default();
        let mut conditions = list_at(budget, &["status", "conditions"]).to_vec();
        conditions.retain(|condition| str_at(condition, &["type"]) != "DisruptionAllowed");
        conditions.push(json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "lastTransitionTime": now, "observedGeneration": generation,
        }));
        status.insert("conditions".to_owned(), conditions.into());
    }
    object_at(&mut spent, &["status", "disruptedPods"]).insert(pod.to_owned(), now.into());
    Ok(spent)
}

/// How many disruptions a budget allows: at least one.
///
/// # Errors
/// 429 if it allows none or has not been calculated yet, 403 if its status makes no sense.
fn allowed(budget: &Value) -> Result<i64> {
    let name = str_at(budget, &["metadata", "name"]);
    let number = |name: &str| i64_at(budget, &["status", name]).unwrap_or_default();
    if number("observedGeneration") < i64_at(budget, &["metadata", "generation"]).unwrap_or_default() {
        return Err(unsettled(name));
    }
    let refuse = |why: &str, cause: &str| {
        let refused = StatusError::forbidden("policy", "poddisruptionbudget", name, why);
        let cause = format!("The disruption budget {name} does not allow evicting pods currently: {cause}");
        Err(because(refused, cause))
    };
    if number("disruptionsAllowed") < 0 {
        return refuse("pdb disruptions allowed is negative", "pdb disruptions allowed is negative");
    }
    let disrupted = crate::value::entries_at(budget, &["status", "disruptedPods"]).count();
    if disrupted > MAX_DISRUPTED_PODS {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return refuse(why, "too many pending evictions not confirmed by PDB controller");
    }
    match number("disruptionsAllowed") {
        0 => Err(because(too_many(None), nothing_left(budget))),
        allowed => Ok(allowed),
    }
}

/// Why a budget allows nothing.
fn nothing_left(budget: &Value) -> String {
    let name = str_at(budget, &["metadata", "name"]);
    let number = |name: &str| i64_at(budget, &["status", name]).unwrap_or_default();
    let conditions = list_at(budget, &["status", "conditions"]);
    let told = conditions.iter().find(|condition| str_at(condition, &["type"]) == "DisruptionAllowed");
    let told = told.filter(|told| str_at(told, &["status"]) == "False");
    let (reason, message) =
        (told.map_or("", |told| str_at(told, &["reason"])), told.map_or("", |told| str_at(told, &["message"])));
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    if !message.is_empty() && reason == "SyncFailed" {
        format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}")
    } else if healthy <= desired {
        format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    } else if !message.is_empty() {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    }
}

/// 429: nobody knows yet what the budget allows.
fn unsettled(budget: &str) -> StatusError {
    let cause = format!("The disruption budget {budget} is still being processed by the server.");
    because(too_many(Some(RETRY_AFTER_S)), cause)
}

fn too_many(retry_after_s: Option<u32>) -> StatusError {
    let mut refused = StatusError::too_many_requests(RETRY_AFTER_S);
    VIOLATION.clone_into(&mut refused.message);
    if let Some(details) = &mut refused.details {
        details.retry_after_seconds = retry_after_s;
    }
    refused
}

fn because(mut refused: StatusError, message: String) -> StatusError {
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() };
    refused.details.get_or_insert_default().causes.push(cause);
    refused
}

fn ambiguous() -> Answer {
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": 500,
    });
    Answer { code: 500, ..Answer::ok(Content::Other(status)) }
}

/// The Pod with the condition that says why it goes.
fn disrupted(pod: &Value, now: &str) -> Value {
    let mut new = pod.clone();
    let mut conditions = list_at(pod, &["status", "conditions"]).to_vec();
    let is_target = |condition: &Value| str_at(condition, &["type"]) == "DisruptionTarget";
    let old = conditions.iter().find(|condition| is_target(condition) && str_at(condition, &["status"]) == "True");
    let since = old.map_or(now, |old| str_at(old, &["lastTransitionTime"])).to_owned();
    let told = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": since,
    });
    match conditions.iter_mut().find(|condition| is_target(condition)) {
        Some(condition) => *condition = told,
        None => conditions.push(told),
    }
    object_at(&mut new, &["status"]).insert("conditions".to_owned(), conditions.into());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 1}, "spec": {}, "status": status})
    }

    #[test]
    fn a_disruption_is_taken_from_what_is_allowed() {
        let left = |allowed: i64| budget(json!({"observedGeneration": 1, "disruptionsAllowed": allowed}));
        let two = spent(&left(2), "p", "now").unwrap_or_default();
        assert_eq!(two["status"]["disruptionsAllowed"], 1);
        assert_eq!(two["status"]["disruptedPods"], json!({"p": "now"}));
        assert!(two["status"]["conditions"].is_null());
        let one = spent(&left(1), "p", "now").unwrap_or_default();
        assert_eq!(one["status"]["conditions"][0]["reason"], "InsufficientPods");
    }

    #[test]
    fn a_budget_says_why_it_allows_nothing() {
        let why = |status: Value| {
            let refused = allowed(&budget(status)).expect_err("nothing is allowed");
            let details = refused.details.unwrap_or_default();
            (refused.code, details.retry_after_seconds, details.causes[0].message.clone())
        };
        let said = |text: &str| format!("The disruption budget b {text}");
        let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m"}]);
        let rows = [
            (json!({}), (429, Some(10), said("is still being processed by the server."))),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 3}),
                (429, None, said("needs 3 healthy pods and has 2 currently")),
            ),
            (
                json!({"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1}),
                (429, None, said("does not allow evicting pods currently")),
            ),
            (
                json!({"observedGeneration": 1, "conditions": failed}),
                (429, None, said("does not allow evicting pods currently because it failed sync: m")),
            ),
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": -1}),
                (403, None, said("does not allow evicting pods currently: pdb disruptions allowed is negative")),
            ),
        ];
        for (status, expected) in rows {
            assert_eq!(why(status), expected);
        }
    }

    #[test]
    fn an_unready_pod_may_cost_nothing() {
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let enough = budget(json!({"currentHealthy": 2, "desiredHealthy": 2}));
        let few = budget(json!({"currentHealthy": 1, "desiredHealthy": 2}));
        let mut always = few.clone();
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(spares(&enough, &pod("False")) && spares(&always, &pod("False")));
        assert!(!spares(&few, &pod("False")) && !spares(&always, &pod("True")));
    }

    #[test]
    fn a_pod_is_told_once_why_it_goes() {
        let once = disrupted(&json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}), "first");
        let twice = disrupted(&once, "second");
        assert_eq!(twice["status"]["conditions"][1]["lastTransitionTime"], "first");
        assert_eq!(once, twice);
    }
}
