//! Admission webhooks: what `…WebhookConfiguration` objects want to be asked, over HTTPS, of writes and connections.
//!
//! ```text
//! Question (what is written, by whom) ─► matching: rules, selectors, equivalent versions ─► conditions ─► review ─► hooks::Hooks::call
//!   mutating:   one after the other, each sees what the one before made of the object; once more, if somebody changed it after them
//!   validating: all at once; the first refusal in their order counts
//! ```
//! Specified by apiserver's `admission/plugin/webhook`. Never asked: about webhook configurations themselves, about questions (reviews of access and
//! tokens), and by writes of the server itself.

mod conditions;
mod hooks;
mod matching;
mod mutate;
mod review;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::core::Core;
use crate::field_error::quote;
use crate::hooks::Call;
use crate::identity::Caller;
use crate::metrics::{HookAnswerLabels, HookLabels, HookRejectionLabels};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::store::Store;
pub(crate) use hooks::client_config;
use hooks::{Hook, HookList};
pub(crate) use mutate::Rounds;
use review::{Verdict, denial, verdict};

/// The group of the configurations.
const GROUP: &str = "admissionregistration.k8s.io";
/// An answer may have so many bytes: a patch may replace an object of the largest size, and is base64.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// A version of the resource that is written.
type Version = Arc<Resource>;

/// The webhooks of a server.
pub(crate) struct Webhooks {
    mutating: HookList,
    validating: HookList,
}

impl Webhooks {
    pub(crate) fn new() -> Self {
        Self {
            mutating: HookList::new("mutatingwebhookconfigurations"),
            validating: HookList::new("validatingwebhookconfigurations"),
        }
    }

    /// Whether there is any at all, of one sort.
    pub(crate) fn are_any(&self, store: &Store, mutating: bool) -> bool {
        let list = if mutating { &self.mutating } else { &self.validating };
        !list.all(store).is_empty()
    }
}

/// What webhooks are asked about.
pub(crate) struct Question<'a> {
    pub(crate) core: &'a Core,
    pub(crate) caller: &'a Caller,
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub(crate) operation: &'static str,
    /// The kind of the objects, as `apiVersion` and `kind`, if it is not the one of the resource or subresource.
    pub(crate) kind: Option<(&'a str, &'a str)>,
    pub(crate) options: Value,
    pub(crate) is_dry_run: bool,
}

/// The answer to a call, or why it is none.
enum Failure {
    /// The webhook was not asked, or did not answer; its policy says whether that matters. With the code that metrics count.
    Call(String, u16),
    /// It said no.
    Denied(StatusError),
    /// What it wants cannot be done.
    Server(StatusError),
}

impl Question<'_> {
    /// Asks the validating webhooks about an object as it will be stored; `old` is what is there, both `Null` if there is none.
    ///
    /// # Errors
    /// One of them refuses, or has not answered although it must.
    pub(crate) async fn validate(&self, object: &Value, old: &Value, warnings: &mut Vec<String>) -> Result<()> {
        let hooks = self.core.webhooks.validating.all(&self.core.store);
        if hooks.is_empty() || !self.is_for_webhooks() {
            return Ok(());
        }
        let mut asked = Vec::new();
        let mut versions: BTreeMap<String, (Version, Value, Value)> = BTreeMap::new();
        for hook in hooks.iter() {
            let Some(version) = self.asked_by(hook, object, old)? else { continue };
            let name = version.api_version.clone();
            if !versions.contains_key(&name) {
                let (object, old) = (self.in_version(object, &version).await?, self.in_version(old, &version).await?);
                versions.insert(name.clone(), (version, object, old));
            }
            if let Some((version, object, old)) = versions.get(&name)
                && self.meets(hook, version, object, old)?
            {
                asked.push((hook, name));
            }
        }
        let asking = asked.iter().filter_map(|(hook, version)| Some((hook, versions.get(version)?)));
        let asking = asking.map(|(hook, (version, object, old))| async move {
            let started = Instant::now();
            let answer = self.ask(hook, version, object, old, false).await;
            self.settle(hook, "validating", started, answer.and_then(|verdict| allow(hook, verdict)))
        });
        let mut refused = None;
        for settled in join_all(asking).await {
            match settled {
                Ok(verdict) => warnings.extend(verdict.into_iter().flat_map(|verdict| verdict.warnings)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Whether webhooks may be asked at all.
    fn is_for_webhooks(&self) -> bool {
        const EXEMPT: [&str; 6] = [
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ];
        let is_exempt = self.resource.group == GROUP && EXEMPT.contains(&self.resource.plural.as_str());
        !is_exempt && !self.caller.is_server
    }

    /// The namespace as webhooks are told it: that of a Namespace is itself.
    fn namespace(&self) -> &str {
        if self.resource.is("", "namespaces") { self.name } else { self.namespace }
    }

    /// Group, version and kind of the objects in a version of the resource.
    fn kind_of(&self, of: &Resource) -> (String, String, String) {
        if let Some((api_version, kind)) = self.kind {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            return (group.to_owned(), version.to_owned(), kind.to_owned());
        }
        (of.group.clone(), of.version.clone(), of.kind.clone())
    }

    /// The object in another version of the resource.
    async fn in_version(&self, object: &Value, to: &Resource) -> Result<Value> {
        if self.kind.is_some() || object.is_null() || to.api_version == self.resource.api_version {
            return Ok(object.clone());
        }
        crate::crd::conversion::convert(self.core, object, to).await
    }

    async fn ask(
        &self,
        hook: &Hook,
        resource: &Resource,
        object: &Value,
        old: &Value,
        is_mutating: bool,
    ) -> std::result::Result<Verdict, Failure> {
        if self.is_dry_run && !hook.takes_dry_run {
            let message = format!("admission webhook {} does not support dry run", quote(&hook.name));
            return Err(Failure::Server(StatusError::bad_request(message)));
        }
        let Some(version) = hook.review else {
            let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(Failure::Call(why.to_owned(), 400));
        };
        let Some(client) = &hook.client else {
            let why = "could not get REST client: webhook configuration must have either service or URL";
            return Err(Failure::Call(why.to_owned(), 500));
        };
        let uid = self.core.entropy.uid();
        let review = self.review(version, &uid, resource, object, old);
        let call = Call { client, review: &review, timeout: hook.timeout, max_answer_bytes: MAX_ANSWER_BYTES };
        let answer = self.core.hooks.call(&call).await;
        let answer = answer.map_err(|error| Failure::Call(format!("failed to call webhook: {error}"), error.code))?;
        let verdict = verdict(version, &uid, is_mutating, &answer)
            .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}"), 503))?;
        if let Some(trail) = &self.caller.trail {
            for (key, text) in &verdict.annotations {
                trail.annotate(format!("{}/{key}", hook.name), text.as_str());
            }
        }
        Ok(verdict)
    }

    /// Counts what came of asking a webhook, and forgives it if its policy does: then there is no answer.
    fn settle<T>(
        &self,
        hook: &Hook,
        kind: &'static str,
        started: Instant,
        answer: std::result::Result<T, Failure>,
    ) -> Result<Option<T>> {
        let metrics = &self.core.metrics;
        let (settled, code, why) = match answer {
            Ok(answer) => (Ok(Some(answer)), 200, None),
            Err(Failure::Call(why, code)) if hook.may_fail => {
                tracing::warn!(webhook = hook.name, why, "failed calling webhook, failing open");
                metrics.hook_fail_open.get_or_create(&HookLabels::of(&hook.name, kind)).inc();
                (Ok(None), code, None)
            }
            Err(Failure::Call(why, code)) => {
                let text = format!("failed calling webhook {}: {why}", quote(&hook.name));
                (Err(StatusError::internal(&text)), code, Some("calling_webhook_error"))
            }
            Err(Failure::Denied(error)) => {
                let code = error.code;
                (Err(error), code, Some("no_error"))
            }
            Err(Failure::Server(error)) => (Err(error), 0, Some("apiserver_internal_error")),
        };
        let operation = self.operation;
        if let Some(error_type) = why {
            let name = hook.name.clone();
            let labels = HookRejectionLabels { name, r#type: kind, operation, error_type, rejection_code: code };
            metrics.hook_rejections.get_or_create(&labels).inc();
        }
        let rejected = if why.is_some() { "true" } else { "false" };
        let labels = HookAnswerLabels { name: hook.name.clone(), r#type: kind, operation, code, rejected };
        metrics.observe_hook(labels, started.elapsed());
        settled
    }
}

/// # Errors
/// The webhook does not allow it.
fn allow(hook: &Hook, verdict: Verdict) -> std::result::Result<Verdict, Failure> {
    if verdict.is_allowed { Ok(verdict) } else { Err(Failure::Denied(denial(&hook.name, &verdict.result))) }
}
