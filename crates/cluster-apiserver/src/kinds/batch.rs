//! Job and CronJob.

mod schedule;

use serde_json::{Value, json};

use super::{
    Dependents, Rules, Strategy,
    check::{Errors, immutable, non_negative, one_of, supported_value},
    pod::spec::validate_template,
    selector,
    workloads::name_warnings,
};
use crate::{
    field_error::{FieldError, FieldPath, quote},
    names,
    value::{as_object, at, bool_at, child_mut, i64_at, list_at, semantic_eq, str_at, strings_at},
};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// Job: Pods that end.
pub(super) struct Job;

impl Strategy for Job {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn prepare_create(&self, job: &mut Value) {
        // A Job without labels of its own has its template's, those that are generated now included.
        let labels = &job["metadata"]["labels"];
        let has_own = !labels.is_null() && *labels != job["spec"]["template"]["metadata"]["labels"];
        if bool_at(job, &["spec", "manualSelector"]) != Some(true) {
            generate_selector(job);
        }
        if !has_own {
            let labels = job["spec"]["template"]["metadata"]["labels"].clone();
            as_object(child_mut(job, "metadata")).insert("labels".to_owned(), labels);
        }
        self.rules().create(job);
    }

    fn validate_create(&self, job: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        validate_generated(job, errors);
        validate_spec(&job["spec"], &root.child("spec"), errors);
        validate_name(job, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            validate_status(new, errors);
            return;
        }
        let root = FieldPath::Root;
        let path = root.child("spec");
        let (spec, old_spec) = (&new["spec"], &old["spec"]);
        validate_spec(spec, &path, errors);
        validate_completions(spec, old_spec, &path, errors);
        immutable(spec, old_spec, "selector", &path, errors);
        validate_template_change(new, old, &path, errors);
        for name in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            immutable(spec, old_spec, name, &path, errors);
        }
        validate_name(new, errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        name_warnings(new, old)
    }

    fn default_dependents(&self) -> Dependents {
        Dependents::Orphan
    }
}

/// The Pods of a Job carry its uid and name, and its selector finds them by the uid.
fn generate_selector(job: &mut Value) {
    let uid = Value::from(str_at(job, &["metadata", "uid"]));
    let name = Value::from(str_at(job, &["metadata", "name"]));
    let spec = child_mut(job, "spec");
    let metadata = child_mut(child_mut(spec, "template"), "metadata");
    let labels = as_object(child_mut(metadata, "labels"));
    for (label, value) in [(OLD_NAME_LABEL, &name), (NAME_LABEL, &name), (OLD_UID_LABEL, &uid), (UID_LABEL, &uid)] {
        labels.entry(label).or_insert_with(|| value.clone());
    }
    let matched = as_object(child_mut(child_mut(spec, "selector"), "matchLabels"));
    matched.entry(UID_LABEL).or_insert(uid);
}

fn validate_generated(job: &Value, errors: &mut Errors) {
    if bool_at(job, &["spec", "manualSelector"]) == Some(true) || at(job, &["spec", "selector"]).is_none() {
        return;
    }
    let root = FieldPath::Root;
    let spec = root.child("spec");
    let template = spec.child("template");
    let metadata = template.child("metadata");
    let labels_path = metadata.child("labels");
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let (uid, name) = (str_at(job, &["metadata", "uid"]), str_at(job, &["metadata", "name"]));
    let expected = [(OLD_UID_LABEL, uid), (OLD_NAME_LABEL, name), (UID_LABEL, uid), (NAME_LABEL, name)];
    for (label, value) in expected {
        match labels[label].as_str() {
            None => {
                let text = format!("must be '{value}'");
                errors.push(FieldError::required(&labels_path.key(label), &text));
            }
            Some(found) if found != value => {
                let text = format!("must be '{value}'");
                errors.push(FieldError::invalid(&labels_path.key(label), labels, &text));
            }
            Some(_) => {}
        }
    }
    let all: serde_json::Map<String, Value> =
        expected.iter().map(|(label, value)| ((*label).to_owned(), json!(value))).collect();
    if !selector::matches(&job["spec"]["selector"], &Value::Object(all)) {
        let text = "`selector` not auto-generated";
        errors.push(FieldError::invalid(&spec.child("selector"), &job["spec"]["selector"], text));
    }
}

/// The name of the last Pod of an indexed Job must be a host name.
fn validate_name(job: &Value, errors: &mut Errors) {
    let completions = i64_at(job, &["spec", "completions"]).unwrap_or_default();
    if str_at(job, &["spec", "completionMode"]) != "Indexed" || completions <= 0 {
        return;
    }
    let name = str_at(job, &["metadata", "name"]);
    let longest = format!("{name}-{}", completions - 1);
    if !names::dns1123_label(&longest).is_empty() {
        let root = FieldPath::Root;
        let text = format!("will not able to create pod with invalid DNS label: {longest}");
        let metadata = root.child("metadata");
        errors.push(FieldError::invalid(&metadata.child("name"), name, &text));
    }
}

/// Checks the spec of a Job with its selector.
fn validate_spec(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_template_spec(spec, path, errors);
    let field = path.child("selector");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let labels = &spec["template"]["metadata"]["labels"];
    let selector = &spec["selector"];
    let before = errors.len();
    if selector.is_null() {
        errors.push(FieldError::required(&field, ""));
    } else {
        selector::validate(selector, &field, errors);
    }
    let is_understood = selector.is_null() || errors.len() == before;
    if is_understood && (selector.is_null() || !selector::matches(selector, labels)) {
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&metadata.child("labels"), labels, text));
    }
}

/// Checks the spec of a Job as the template of a CronJob has it, without a selector.
fn validate_template_spec(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(spec, name, path, errors);
    }
    let has = |name: &str| at(spec, &[name]).is_some();
    if has("maxFailedIndexes") && !has("backoffLimitPerIndex") {
        let field = path.child("backoffLimitPerIndex");
        errors.push(FieldError::required(&field, "when maxFailedIndexes is specified"));
    }
    validate_completion_mode(spec, path, errors);
    validate_failure_policy(spec, path, errors);
    validate_template(&spec["template"], &path.child("template"), errors);
    validate_restart_policy(spec, path, errors);
}

fn validate_completion_mode(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX_PARALLELISM: i64 = 100_000;
    let mode = str_at(spec, &["completionMode"]);
    if !mode.is_empty() {
        supported_value(mode, &["NonIndexed", "Indexed"], &path.child("completionMode"), errors);
    }
    if mode == "Indexed" {
        if at(spec, &["completions"]).is_none() {
            errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
        }
        if let Some(count) = i64_at(spec, &["parallelism"]).filter(|count| *count > MAX_PARALLELISM) {
            let text = format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
            errors.push(FieldError::invalid(&path.child("parallelism"), count, &text));
        }
        let completions = i64_at(spec, &["completions"]);
        if let (Some(failed), Some(completions)) = (i64_at(spec, &["maxFailedIndexes"]), completions)
            && failed > completions
        {
            let text = "must be less than or equal to completions";
            errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, text));
        }
        return;
    }
    for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let Some(value) = i64_at(spec, &[name]) {
            errors.push(FieldError::invalid(&path.child(name), value, "requires indexed completion mode"));
        }
    }
    if let Some(policy) = at(spec, &["successPolicy"]) {
        let text = "requires indexed completion mode";
        errors.push(FieldError::invalid(&path.child("successPolicy"), policy, text));
    }
}

fn validate_failure_policy(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let replacement = str_at(spec, &["podReplacementPolicy"]);
    let field = path.child("podReplacementPolicy");
    let Some(policy) = at(spec, &["podFailurePolicy"]) else {
        if !replacement.is_empty() {
            supported_value(replacement, &["Failed", "TerminatingOrFailed"], &field, errors);
        }
        return;
    };
    let policy_path = path.child("podFailurePolicy");
    let rules = policy_path.child("rules");
    for (index, rule) in list_at(policy, &["rules"]).iter().enumerate() {
        let item = rules.index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        let action = str_at(rule, &["action"]);
        if action.is_empty() {
            let list: Vec<String> = actions.iter().map(|action| quote(action)).collect();
            let text = format!("valid values: [{}]", list.join(" "));
            errors.push(FieldError::required(&item.child("action"), &text));
        } else {
            supported_value(action, &actions, &item.child("action"), errors);
        }
        let has_codes = at(rule, &["onExitCodes"]).is_some();
        let has_conditions = !list_at(rule, &["onPodConditions"]).is_empty();
        if has_codes == has_conditions {
            let what = if has_codes {
                "both OnExitCodes and OnPodConditions is not supported"
            } else {
                "one of OnExitCodes and OnPodConditions is required"
            };
            let message = format!("Invalid value: specifying {what}");
            let reason = crate::field_error::FieldReason::Invalid;
            errors.push(FieldError { reason, field: item.to_string(), message });
        }
    }
    if !replacement.is_empty() {
        supported_value(replacement, &["Failed"], &field, errors);
    }
}

fn validate_restart_policy(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let template = path.child("template");
    let pod = template.child("spec");
    let field = pod.child("restartPolicy");
    match str_at(spec, &["template", "spec", "restartPolicy"]) {
        "Always" | "" => errors.push(FieldError::required(&field, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if at(spec, &["podFailurePolicy"]).is_some() => {
            let text = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(&field, "OnFailure", text));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(&field, other, &["OnFailure", "Never"])),
    }
}

/// The number of completions is fixed, but for an indexed Job that is scaled with its parallelism.
fn validate_completions(spec: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let completions = &spec["completions"];
    if str_at(spec, &["completionMode"]) != "Indexed" {
        immutable(spec, old, "completions", path, errors);
    } else if !completions.is_null() && *completions != old["completions"] && *completions != spec["parallelism"] {
        let text = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(&path.child("completions"), completions, text));
    }
}

/// The template of a Job that has not started may still be told where and with what to run.
fn validate_template_change(new: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut before = old["spec"]["template"].clone();
    let template = &new["spec"]["template"];
    let is_suspended = bool_at(old, &["spec", "suspend"]) == Some(true);
    if is_suspended && at(old, &["status", "startTime"]).is_none() {
        for name in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
            crate::value::copy_field(child_mut(&mut before, "spec"), &template["spec"], name);
        }
        for name in ["annotations", "labels"] {
            crate::value::copy_field(child_mut(&mut before, "metadata"), &template["metadata"], name);
        }
        for list in ["containers", "initContainers"] {
            let now = list_at(template, &["spec", list]);
            for (container, now) in crate::value::list_at_mut(&mut before, &["spec", list]).iter_mut().zip(now) {
                crate::value::copy_field(container, now, "resources");
            }
        }
        if !semantic_eq(&template["spec"], &before["spec"]) {
            let spec = path.child("template.spec");
            errors.push(FieldError::invalid(&spec, &template["spec"], super::metadata::IMMUTABLE));
        }
    } else if !semantic_eq(template, &before) {
        errors.push(FieldError::invalid(&path.child("template"), template, super::metadata::IMMUTABLE));
    }
}

fn validate_status(job: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(&job["status"], name, &path, errors);
    }
    validate_uncounted(job, &path.child("uncountedTerminatedPods"), errors);
    let is = |kind: &str| {
        list_at(job, &["status", "conditions"])
            .iter()
            .any(|condition| str_at(condition, &["type"]) == kind && str_at(condition, &["status"]) == "True")
    };
    let mut refuse = |text: &str| {
        let reason = crate::field_error::FieldReason::Invalid;
        let message = format!("Invalid value: {text}");
        errors.push(FieldError { reason, field: path.child("conditions").to_string(), message });
    };
    if is("Complete") && is("Failed") {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if is("Failed") && !is("FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if is("Complete") && !is("SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    let has_completion_time = at(job, &["status", "completionTime"]).is_some();
    if has_completion_time && !is("Complete") {
        let value = &job["status"]["completionTime"];
        let text = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&path.child("completionTime"), value, text));
    }
    if !has_completion_time && is("Complete") {
        let text = "completionTime is required for Complete jobs";
        errors.push(FieldError::required(&path.child("completionTime"), text));
    }
    if (is("Complete") || is("Failed")) && at(job, &["status", "startTime"]).is_none() {
        errors.push(FieldError::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let (ready, active) = (i64_at(job, &["status", "ready"]), i64_at(job, &["status", "active"]).unwrap_or_default());
    if let Some(ready) = ready.filter(|ready| *ready > active) {
        errors.push(FieldError::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
    }
    let indexes = str_at(job, &["status", "completedIndexes"]);
    if !indexes.is_empty() && str_at(job, &["spec", "completionMode"]) != "Indexed" {
        let text = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&path.child("completedIndexes"), indexes, text));
    }
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

/// CronJob: Jobs by the clock.
pub(super) struct CronJob;

impl Strategy for CronJob {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn validate_create(&self, cron: &Value, errors: &mut Errors) {
        const NAME_MAX: usize = 52;
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &cron["spec"];
        let name = str_at(cron, &["metadata", "name"]);
        if name.len() > NAME_MAX {
            let field = root.child("metadata");
            let text = format!("must be no more than {NAME_MAX} characters");
            errors.push(FieldError::invalid(&field.child("name"), name, &text));
        }
        validate_schedule(spec, &path, errors);
        non_negative(spec, "startingDeadlineSeconds", &path, errors);
        one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path, errors);
        let template = path.child("jobTemplate");
        validate_job_template(&spec["jobTemplate"], &template, errors);
        non_negative(spec, "successfulJobsHistoryLimit", &path, errors);
        non_negative(spec, "failedJobsHistoryLimit", &path, errors);
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() {
            self.validate_create(new, errors);
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        name_warnings(new, old)
    }
}

fn validate_job_template(template: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let spec = path.child("spec");
    validate_template_spec(&template["spec"], &spec, errors);
    if bool_at(template, &["spec", "manualSelector"]) == Some(true) {
        let value = &template["spec"]["manualSelector"];
        errors.push(FieldError::not_supported(&spec.child("manualSelector"), value, &["nil", "false"]));
    }
}

fn validate_schedule(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let schedule = str_at(spec, &["schedule"]);
    let zone = at(spec, &["timeZone"]).and_then(Value::as_str);
    let field = path.child("schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required(&field, ""));
    } else if let Err(text) = schedule::check(schedule) {
        errors.push(FieldError::invalid(&field, schedule, &text));
    }
    if schedule.contains("TZ") {
        let text = if zone.is_some() {
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        } else {
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        };
        errors.push(FieldError::invalid(&field, schedule, text));
    }
    let Some(zone) = zone else { return };
    let field = path.child("timeZone");
    if zone.is_empty() {
        errors.push(FieldError::invalid(&field, zone, "timeZone must be nil or non-empty string"));
    } else if zone.eq_ignore_ascii_case("local") {
        errors.push(FieldError::invalid(
            &field,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ));
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.push(FieldError::invalid(&field, zone, &format!("unknown time zone {zone}")));
    }
}
