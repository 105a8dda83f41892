//! What is particular to Pods: eviction, parts of the spec that may change.

use serde_json::Value;

use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::selector::LabelSelector;
use crate::status::{Cause, Details, Result, StatusError, success};
use crate::store::{ObjectKey, TableName};
use crate::value::{at, i64_at, str_at};
use crate::verbs::patch::patch;
use crate::verbs::{Answer, Ask, Content};
use crate::writes::{self, Context, DeleteOptions, Next};

const RETRY_AFTER_S: u32 = 10;

/// Evicts a Pod: deletes it, if no PodDisruptionBudget minds.
pub(super) async fn evict(ask: &Ask) -> Result<Answer> {
    let write_options = WriteOptions::parse(&ask.query, "CreateOptions")?;
    let eviction = decode::body_of("policy", "v1", "Eviction", &ask.content_type, &ask.body)?.value;
    let given = str_at(&eviction, &["metadata", "name"]);
    if !given.is_empty() && given != ask.name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({})", ask.name);
        return Err(StatusError::bad_request(message));
    }
    let text = |name: &str| {
        at(&eviction, &["deleteOptions", "preconditions", name]).and_then(Value::as_str).map(str::to_owned)
    };
    let options = DeleteOptions {
        grace_period_s: i64_at(&eviction, &["deleteOptions", "gracePeriodSeconds"]),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..DeleteOptions::default()
    };
    check_budgets(ask)?;
    let context = Context { subresource: "", ..ask.context(write_options.is_dry_run) };
    writes::delete(&context, &ask.name, &options).await?;
    Ok(Answer::created(Content::Other(success(None::<Details>, Some(201)))))
}

/// # Errors
/// 429 if a budget that selects the Pod allows no more disruptions.
fn check_budgets(ask: &Ask) -> Result<()> {
    let store = &ask.core.store;
    let pod = store.get(&ask.resource.table, &ObjectKey::new(&ask.namespace, &ask.name));
    let Some(pod) = pod else { return Err(ask.resource.not_found(&ask.name)) };
    let value = ask.resource.load(&pod)?;
    // What does not run disrupts nobody.
    let is_over = matches!(str_at(&value, &["status", "phase"]), "Pending" | "Succeeded" | "Failed" | "");
    if is_over || at(&value, &["metadata", "deletionTimestamp"]).is_some() {
        return Ok(());
    }
    for budget in store.list(&TableName::from("poddisruptionbudgets.policy"), &ask.prefix()).objects {
        let budget: Value = serde_json::from_slice(&budget.body).unwrap_or_default();
        let is_meant = LabelSelector::of_object(&budget["spec"]["selector"])
            .is_some_and(|selector| !is_nothing(&budget) && selector.matches(&pod.labels));
        // A budget whose status nobody keeps binds nobody.
        let is_kept = i64_at(&budget, &["status", "observedGeneration"]).is_some_and(|seen| seen > 0);
        if is_meant && is_kept && i64_at(&budget, &["status", "disruptionsAllowed"]).unwrap_or_default() <= 0 {
            return Err(refuse_eviction(str_at(&budget, &["metadata", "name"])));
        }
    }
    Ok(())
}

fn is_nothing(budget: &Value) -> bool {
    at(budget, &["spec", "selector"]).is_none()
}

fn refuse_eviction(budget: &str) -> StatusError {
    let mut refused = StatusError::too_many_requests(RETRY_AFTER_S);
    refused.message = "Cannot evict pod as it would violate the pod's disruption budget.".to_owned();
    if let Some(details) = &mut refused.details {
        details.causes.push(Cause {
            reason: "DisruptionBudget".to_owned(),
            message: format!("The disruption budget {budget} does not allow another disruption at this time"),
            field: String::new(),
        });
    }
    refused
}

/// Reads or writes a Pod through a subresource that may change part of its spec; the kind's own rules say which.
pub(super) async fn write_part(ask: &Ask) -> Result<Answer> {
    match ask.verb {
        "get" => {
            let key = ObjectKey::new(&ask.namespace, &ask.name);
            let stored = ask.core.store.get(&ask.resource.table, &key);
            stored.map(|stored| Answer::ok(Content::Stored(stored))).ok_or_else(|| ask.resource.not_found(&ask.name))
        }
        "patch" => patch(ask).await,
        _ => {
            let write_options = WriteOptions::parse(&ask.query, "UpdateOptions")?;
            let object = decode::object(&ask.resource, &ask.content_type, &ask.body)?.value;
            let written = writes::update(&ask.context(write_options.is_dry_run), &ask.name, &mut |_| {
                Ok(Next::Changed(object.clone()))
            })
            .await?;
            Ok(Answer::from(written))
        }
    }
}
