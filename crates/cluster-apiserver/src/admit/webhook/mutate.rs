//! The mutating webhooks: one after the other, and once more those that want to see what others did after them.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::time::Instant;

use super::hooks::Hook;
use super::{Failure, Question, Verdict, Version, allow};
use crate::facts;
use crate::field_error::quote;
use crate::negotiate::decode;
use crate::patch::json::{self, Operations};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::strict;

/// What is known of the first round when the second begins.
#[derive(Default)]
pub(crate) struct Rounds {
    is_second: bool,
    /// Webhooks that want to be asked again, and saw the object as it was last.
    asked: BTreeSet<String>,
    /// Those that are to be asked again.
    again: BTreeSet<String>,
    has_changed: bool,
    /// The outcome of the first round, if anybody is to be asked again.
    last: Option<Value>,
}

impl Rounds {
    /// Begins the second round on what the plug-ins have made of the first one's outcome.
    pub(crate) fn begin_second(&mut self, object: &Value) {
        self.is_second = true;
        if self.last.take().is_some_and(|last| last != *object) {
            self.require();
        }
    }

    /// Whether a webhook has changed the object, so that everybody is asked once more.
    pub(crate) fn wants_second(&self) -> bool {
        self.has_changed && !self.is_second
    }

    /// Whoever has seen the object as it was before is to see it again.
    fn require(&mut self) {
        self.again.append(&mut self.asked);
    }
}

/// An object in one version of its resource.
struct Current {
    version: Option<Version>,
    object: Value,
    /// The object before the write in the same version, if that is another one than it was written in.
    old: Option<Value>,
}

impl Question<'_> {
    /// Asks the mutating webhooks, and lays what they answer over the object; `Null` if there is none.
    ///
    /// # Errors
    /// One of them refuses, has not answered although it must, or wants what cannot be.
    pub(crate) async fn mutate(
        &self,
        object: Value,
        old: &Value,
        rounds: &mut Rounds,
        warnings: &mut Vec<String>,
    ) -> Result<Value> {
        let hooks = self.core.webhooks.mutating.all(&self.core.store);
        if hooks.is_empty() || !self.is_for_webhooks() {
            return Ok(object);
        }
        let mut current = Current { version: None, object, old: None };
        for hook in hooks.iter() {
            let Some(version) = self.asked_by(hook, &current.object, old)? else { continue };
            if rounds.is_second && !rounds.again.contains(&hook.id) {
                continue;
            }
            self.bring_to(&mut current, &version, old).await?;
            if !self.meets(hook, &version, &current.object, current.old.as_ref().unwrap_or(old))? {
                continue;
            }
            let started = Instant::now();
            let answer = self.ask(hook, &version, &current.object, current.old.as_ref().unwrap_or(old), true).await;
            let patched = answer.and_then(|verdict| self.patched(hook, &version, &current.object, verdict));
            let settled = self.settle(hook, "admit", started, patched)?;
            if let Some((changed, said)) = settled {
                warnings.extend(said);
                if let Some(changed) = changed {
                    current.object = changed;
                    rounds.has_changed = true;
                    rounds.require();
                }
            }
            if hook.is_reinvoked {
                rounds.asked.insert(hook.id.clone());
            }
        }
        let object = self.back(current).await?;
        if !rounds.is_second && !rounds.asked.is_empty() {
            rounds.last = Some(object.clone());
        }
        Ok(object)
    }

    async fn bring_to(&self, current: &mut Current, version: &Version, old: &Value) -> Result<()> {
        let present = current.version.as_ref().map_or(&self.resource.api_version, |version| &version.api_version);
        if *present != version.api_version && self.kind.is_none() {
            if !current.object.is_null() {
                current.object = crate::crd::conversion::convert(self.core, &current.object, version).await?;
            }
            current.old = Some(self.in_version(old, version).await?);
        }
        current.version = Some(Version::clone(version));
        Ok(())
    }

    /// The object in the version that is written.
    async fn back(&self, current: Current) -> Result<Value> {
        match current.version {
            Some(version)
                if version.api_version != self.resource.api_version
                    && self.kind.is_none()
                    && !current.object.is_null() =>
            {
                crate::crd::conversion::convert(self.core, &current.object, self.resource).await
            }
            _ => Ok(current.object),
        }
    }

    /// What a webhook makes of an object, `None` if it leaves it as it is, and what it has to say.
    fn patched(
        &self,
        hook: &Hook,
        of: &Resource,
        object: &Value,
        verdict: Verdict,
    ) -> std::result::Result<(Option<Value>, Vec<String>), Failure> {
        let Verdict { patch, warnings, .. } = allow(hook, verdict)?;
        let Some((text, patch_type)) = patch else { return Ok((None, warnings)) };
        let undecodable =
            |why: &str| Failure::Call(format!("received undecodable patch in webhook response: {why}"), 503);
        let operations =
            serde_json::from_slice(&text).map_err(|_| undecodable(&crate::negotiate::json_syntax_error(&text)))?;
        // Knative's webhook, for one, answers `null` where it has nothing to change.
        let patch = Operations::of(operations).map_err(|error| undecodable(&error))?;
        if patch.len() == 0 {
            return Ok((None, warnings));
        }
        let internal = |why: &str| Failure::Server(StatusError::internal(why));
        if object.is_null() {
            let name = quote(&hook.name);
            return Err(internal(&format!(
                "admission webhook {name} attempted to modify the object, which is not supported for this operation"
            )));
        }
        if patch_type != "JSONPatch" {
            return Err(Failure::Call(format!("unsupported patch type {}", quote(&patch_type)), 400));
        }
        let patched = json::apply(object, &patch).map_err(|error| internal(&error.to_string()))?;
        let mut decoded = self.decode(of, &patched).map_err(|why| internal(&why))?;
        if self.kind.is_none() {
            of.set_type(&mut decoded);
            of.default(&mut decoded);
        }
        Ok(((decoded != *object).then_some(decoded), warnings))
    }

    /// A patched object in the form of its kind.
    fn decode(&self, of: &Resource, patched: &Value) -> std::result::Result<Value, String> {
        if self.kind.is_none() {
            return decode::patched(of, patched).map(|decoded| decoded.value).map_err(|error| error.to_string());
        }
        let (group, version, kind) = self.kind_of(of);
        let Some(of) = facts::type_of_kind(&group, &version, &kind) else { return Ok(patched.clone()) };
        strict::decode_value(of, patched).map(|decoded| decoded.value).map_err(|error| error.to_string())
    }
}
