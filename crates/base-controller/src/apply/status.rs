//! The parts of a plan that concern the object itself: its status and its finalizer.

use serde::Serialize;
use serde_json::Value;

use super::wire::Failure;
use super::{Run, Stop, stop, target, to_json};
use crate::diff;

impl Run<'_> {
    /// Writes the whole status through `/status`, if it differs from what is there.
    pub(super) async fn set_status(&mut self, status: &impl Serialize) -> Result<(), Stop> {
        let Some(subject) = &self.subject else { return Ok(()) };
        let (resource, key, old) = (subject.resource.clone(), subject.key.clone(), subject.object.clone());
        let target = target(&resource, &key);
        let mut status = to_json(status, &target)?;
        if status.is_null() {
            return Ok(());
        }
        let old_status = old.get("status").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        keep_transition_times(&mut status, &old_status);
        if status == old_status {
            return Ok(());
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(%target, diff = diff::describe(&old_status, &status), "status");
        }
        let mut new = old.clone();
        if let Value::Object(fields) = &mut new {
            fields.insert("status".to_owned(), status);
        }
        match self.replace(&resource, &key, (&old, new), Some("status")).await {
            // An object that is gone has no status.
            Ok(()) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(stop(failure, target)),
        }
    }

    /// Adds or removes a finalizer of the object itself.
    pub(super) async fn set_finalizer(&mut self, name: &str, is_wanted: bool) -> Result<(), Stop> {
        let Some(subject) = &self.subject else { return Ok(()) };
        let (resource, key, old) = (subject.resource.clone(), subject.key.clone(), subject.object.clone());
        let target = target(&resource, &key);
        let mut new = old.clone();
        let Some(Value::Object(meta)) = new.get_mut("metadata") else { return Ok(()) };
        let finalizers = meta.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(finalizers) = finalizers else { return Ok(()) };
        let is_there = finalizers.iter().any(|finalizer| finalizer == name);
        if is_there == is_wanted {
            return Ok(());
        }
        tracing::debug!(%target, name, is_wanted, "finalizer");
        if is_wanted {
            finalizers.push(Value::from(name));
        } else {
            finalizers.retain(|finalizer| finalizer != name);
        }
        match self.replace(&resource, &key, (&old, new), None).await {
            Ok(()) => Ok(()),
            Err(Failure::Missing(_)) if !is_wanted => Ok(()),
            Err(failure) => Err(stop(failure, target)),
        }
    }
}

/// A condition that says what it said before has not made a transition, whatever the maker's clock says.
fn keep_transition_times(status: &mut Value, old: &Value) {
    const TIME: &str = "lastTransitionTime";
    let old = old.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten();
    for condition in conditions.filter_map(Value::as_object_mut) {
        let is_same = |old: &&serde_json::Map<String, Value>| {
            old.len() == condition.len()
                && old.iter().all(|(name, value)| name == TIME || condition.get(name) == Some(value))
        };
        let time = old.iter().filter_map(Value::as_object).find(is_same).and_then(|old| old.get(TIME));
        if let Some(time) = time {
            condition.insert(TIME.to_owned(), time.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let old = json!({"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "old"},
            {"type": "Other", "status": "True", "lastTransitionTime": "old"},
        ]});
        let mut new = json!({"conditions": [
            {"type": "Other", "status": "False", "reason": "X", "lastTransitionTime": "new"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "new"},
        ]});
        keep_transition_times(&mut new, &old);
        let times: Vec<_> = new["conditions"].as_array().unwrap().iter().map(|c| &c["lastTransitionTime"]).collect();
        assert_eq!(times, ["new", "old"]);
    }
}
