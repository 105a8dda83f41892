//! Which statuses a Job may have, whoever keeps it. Only what changes is checked, so that what was accepted once can still be told.

use serde_json::Value;

use super::super::check::{Errors, non_negative};
use super::policy::{Indexes, indexes};
use crate::{
    field_error::{FieldError, FieldPath, FieldReason},
    value::{at, bool_at, i64_at, list_at, semantic_eq, str_at, strings_at},
};

/// Whether a condition of a Job is true.
pub(super) fn has(job: &Value, kind: &str) -> bool {
    is(job, kind, "True")
}

fn is(job: &Value, kind: &str, status: &str) -> bool {
    let conditions = list_at(job, &["status", "conditions"]);
    conditions.iter().any(|condition| str_at(condition, &["type"]) == kind && str_at(condition, &["status"]) == status)
}

fn is_finished(job: &Value) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// Checks a new status.
pub(super) fn validate(job: &Value, old: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(&job["status"], name, &path, errors);
    }
    validate_uncounted(job, &path.child("uncountedTerminatedPods"), errors);
    let mut check = Check { job, old, path: &path, errors };
    check.ends();
    check.times();
    check.indexes();
    check.counts();
    check.transitions();
}

fn validate_uncounted(job: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut seen = std::collections::HashSet::new();
    for list in ["succeeded", "failed"] {
        let field = path.child(list);
        for (index, uid) in strings_at(job, &["status", "uncountedTerminatedPods", list]).into_iter().enumerate() {
            if uid.is_empty() {
                errors.push(FieldError::invalid(&field.index(index), uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(&field.index(index), uid));
            }
        }
    }
}

struct Check<'a> {
    job: &'a Value,
    old: &'a Value,
    path: &'a FieldPath<'a>,
    errors: &'a mut Errors,
}

impl Check<'_> {
    fn number(&self, name: &str) -> i64 {
        i64_at(self.job, &["status", name]).unwrap_or_default()
    }

    fn differs(&self, name: &str) -> bool {
        !semantic_eq(&self.job["status"][name], &self.old["status"][name])
    }

    fn has_turned(&self, kind: &str) -> bool {
        has(self.job, kind) != has(self.old, kind)
    }

    fn refuse(&mut self, name: &str, text: &str) {
        self.errors.push(FieldError::invalid(&self.path.child(name), &self.job["status"][name], text));
    }

    fn refuse_conditions(&mut self, text: &str) {
        let field = self.path.child("conditions").to_string();
        let message = format!("Invalid value: {text}");
        self.errors.push(FieldError { reason: FieldReason::Invalid, field, message });
    }

    /// How the conditions about the end go together.
    fn ends(&mut self) {
        let (complete, failed) = (has(self.job, "Complete"), has(self.job, "Failed"));
        let (met, target) = (has(self.job, "SuccessCriteriaMet"), has(self.job, "FailureTarget"));
        let rules = [
            (complete && failed, "cannot set Complete=True and Failed=true conditions"),
            (complete && target, "cannot set Complete=True and FailureTarget=true conditions"),
            (failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"),
            (complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
            (met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
            (met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        ];
        let turned = ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"];
        if turned.into_iter().any(|kind| self.has_turned(kind)) {
            rules.into_iter().filter(|(is_broken, _)| *is_broken).for_each(|(_, text)| self.refuse_conditions(text));
        }
    }

    fn times(&mut self) {
        let time = |name: &str| at(self.job, &["status", name]);
        let (started, completed) = (time("startTime"), time("completionTime"));
        let is_complete = has(self.job, "Complete");
        if self.has_turned("Complete") || self.differs("completionTime") {
            if completed.is_some() && !is_complete {
                self.refuse("completionTime", "cannot set completionTime when there is no Complete=True condition");
            }
            if completed.is_none() && is_complete {
                let text = "completionTime is required for Complete jobs";
                self.errors.push(FieldError::required(&self.path.child("completionTime"), text));
            }
        }
        let parsed = |value: Option<&Value>| value?.as_str()?.parse::<jiff::Timestamp>().ok();
        if let (Some(started), Some(completed)) = (parsed(started), parsed(completed))
            && completed < started
            && (self.differs("startTime") || self.differs("completionTime"))
        {
            self.refuse("completionTime", "must be equal to or after `startTime`");
        }
        // A Job with nothing to complete is complete although it never starts.
        let is_void = bool_at(self.job, &["spec", "suspend"]) == Some(true)
            && i64_at(self.job, &["spec", "completions"]) == Some(0);
        let is_news = is_finished(self.job) != is_finished(self.old) || self.differs("startTime");
        if started.is_none() && is_finished(self.job) && is_news && !is_void {
            let text = "startTime is required for finished job";
            self.errors.push(FieldError::required(&self.path.child("startTime"), text));
        }
    }

    fn indexes(&mut self) {
        let is_completed_news = self.differs("completedIndexes");
        let is_failed_news = self.differs("failedIndexes");
        let completed = str_at(self.job, &["status", "completedIndexes"]);
        let failed = at(self.job, &["status", "failedIndexes"]).and_then(Value::as_str);
        let has_limit = at(self.job, &["spec", "backoffLimitPerIndex"]).is_some();
        let completions = i64_at(self.job, &["spec", "completions"]);
        let parse = |text: &str| completions.map(|completions| indexes(text, completions));
        let (completed_set, failed_set) = (parse(completed), failed.and_then(parse));
        if let Some(Err(why)) = completed_set.as_ref().filter(|_| is_completed_news) {
            self.refuse("completedIndexes", &format!("error parsing completedIndexes: {why}"));
        }
        if let Some(Err(why)) = failed_set.as_ref().filter(|_| is_failed_news && has_limit) {
            self.refuse("failedIndexes", &format!("error parsing failedIndexes: {why}"));
        }
        if is_completed_news && !completed.is_empty() && str_at(self.job, &["spec", "completionMode"]) != "Indexed" {
            self.refuse("completedIndexes", "cannot set non-empty completedIndexes when non-indexed completion mode");
        }
        if is_failed_news && failed.is_some() && !has_limit {
            self.refuse("failedIndexes", "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
        }
        if let (Some(Ok(completed)), Some(Ok(failed))) = (completed_set, failed_set)
            && (is_completed_news || is_failed_news)
            && let Some(index) = Indexes::shared(&completed, &failed)
        {
            self.refuse("failedIndexes", &format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
    }

    fn counts(&mut self) {
        let is_finished_now = is_finished(self.job);
        let is_end = is_finished_now != is_finished(self.old);
        if self.number("active") > 0 && is_finished_now && (is_end || self.differs("active")) {
            self.refuse("active", "active>0 is invalid for finished job");
        }
        let uncounted = |list| !list_at(self.job, &["status", "uncountedTerminatedPods", list]).is_empty();
        let is_news = is_end || self.differs("uncountedTerminatedPods");
        if is_finished_now && is_news && (uncounted("succeeded") || uncounted("failed")) {
            self.refuse("uncountedTerminatedPods", "must be empty for finished job");
        }
        if self.number("terminating") > 0 && is_finished_now && (is_end || self.differs("terminating")) {
            self.refuse("terminating", "terminating>0 is invalid for finished job");
        }
        let ready = i64_at(self.job, &["status", "ready"]);
        let is_too_many = ready.is_some_and(|ready| ready > self.number("active"));
        if is_too_many && (self.differs("ready") || self.differs("active")) {
            self.refuse("ready", "cannot set more ready pods than active");
        }
    }

    /// What may not be undone.
    fn transitions(&mut self) {
        for kind in ["Failed", "Complete", "FailureTarget"] {
            if has(self.old, kind) && !has(self.job, kind) {
                self.refuse_conditions(&format!("cannot disable the terminal {kind}=True condition"));
            }
        }
        let before = |name: &str| i64_at(self.old, &["status", name]).unwrap_or_default();
        if self.number("failed") < before("failed") {
            self.refuse("failed", "cannot decrease the failed counter");
        }
        // An indexed Job that is scaled down may lose completed indexes.
        let is_elastic = str_at(self.job, &["spec", "completionMode"]) == "Indexed"
            && self.job["spec"]["completions"] == self.job["spec"]["parallelism"];
        if self.number("succeeded") < before("succeeded") && !is_elastic {
            self.refuse("succeeded", "cannot decrease the succeeded counter");
        }
        let both = |name: &str| at(self.job, &["status", name]).is_some() && at(self.old, &["status", name]).is_some();
        if both("completionTime") && self.differs("completionTime") {
            self.refuse("completionTime", "field is immutable");
        }
        let is_resuming = has(self.old, "Suspended") && is(self.job, "Suspended", "False");
        let is_suspended = bool_at(self.job, &["spec", "suspend"]) == Some(true);
        let was_started = at(self.old, &["status", "startTime"]).is_some();
        if was_started && self.differs("startTime") && !is_resuming && !is_suspended {
            self.refuse("startTime", "field is immutable for unsuspended job once set");
        }
        if has(self.old, "SuccessCriteriaMet") && !has(self.job, "SuccessCriteriaMet") {
            self.refuse_conditions("cannot disable the SuccessCriteriaMet=True condition");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(old: Value, new: Value) -> Vec<String> {
        let job = |status: Value| json!({"spec": {"completionMode": "Indexed", "completions": 3, "parallelism": 1}, "status": status});
        let mut errors = Errors::new();
        validate(&job(new), &job(old), &mut errors);
        errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn a_status_says_nothing_that_cannot_be() {
        let is = |kind: &str| json!({"type": kind, "status": "True"});
        assert_eq!(refused(json!({}), json!({"active": 1, "ready": 1, "startTime": "2026-01-01T00:00:00Z"})), [""; 0]);
        let failed = refused(json!({}), json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [is("Failed")]}));
        let text = "cannot set Failed=True condition without the FailureTarget=true condition";
        assert_eq!(failed, [format!("status.conditions: Invalid value: {text}")]);
        let early = json!({
            "active": 1, "conditions": [is("SuccessCriteriaMet"), is("Complete")],
            "startTime": "2026-01-01T00:00:01Z", "completionTime": "2026-01-01T00:00:00Z",
        });
        assert_eq!(refused(json!({}), early).len(), 2, "before it started, and while it is active");
        let less = refused(json!({"succeeded": 2, "failed": 1}), json!({"succeeded": 1}));
        assert_eq!(less.len(), 2, "counts do not get smaller");
        let text =
            "status.completedIndexes: Invalid value: \"0,5\": error parsing completedIndexes: too large index: \"5\"";
        assert_eq!(refused(json!({}), json!({"completedIndexes": "0,5"})), [text]);
        let undone = refused(json!({"conditions": [is("FailureTarget")]}), json!({}));
        assert_eq!(
            undone,
            ["status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition"]
        );
    }
}
