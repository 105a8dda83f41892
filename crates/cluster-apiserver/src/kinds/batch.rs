//! Job: what it must be like, and what changes of it are allowed.

mod cron_job;
mod policy;
mod status;

pub(super) use cron_job::CronJob;

use serde_json::{Value, json};

use super::{
    Dependents, Rules, Strategy,
    check::{Errors, immutable, non_negative, supported_value},
    pod::spec::validate_template,
    selector,
    workloads::{name_warnings, template_warnings},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, bool_at, child_mut, i64_at, list_at, semantic_eq, str_at},
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
            status::validate(new, old, errors);
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
        let mut warnings = name_warnings(new, old);
        warnings.extend(template_warnings(new, old, &["spec", "template"]));
        warnings
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
    policy::validate(spec, path, errors);
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
        validate_many_indexes(spec, path, errors);
        return;
    }
    for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let Some(value) = i64_at(spec, &[name]) {
            errors.push(FieldError::invalid(&path.child(name), value, "requires indexed completion mode"));
        }
    }
}

/// What the status has to say of indexes must not get too long.
fn validate_many_indexes(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MANY: i64 = 100_000;
    const FEW: i64 = 10_000;
    let failed = i64_at(spec, &["maxFailedIndexes"]);
    if let Some(failed) = failed.filter(|failed| *failed > MANY) {
        let text = format!("must be less than or equal to {MANY}");
        errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, &text));
    }
    let has_many = i64_at(spec, &["completions"]).is_some_and(|completions| completions > MANY);
    if !has_many || at(spec, &["backoffLimitPerIndex"]).is_none() {
        return;
    }
    if failed.is_none() {
        let text = format!("must be specified when completions is above {MANY}");
        errors.push(FieldError::required(&path.child("maxFailedIndexes"), &text));
    }
    for (name, number) in [("parallelism", i64_at(spec, &["parallelism"])), ("maxFailedIndexes", failed)] {
        if let Some(number) = number.filter(|number| *number > FEW) {
            let text = format!(
                "must be less than or equal to {FEW} when completions are above {MANY} and used with backoff limit per index"
            );
            errors.push(FieldError::invalid(&path.child(name), number, &text));
        }
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

/// The template of a suspended Job of which nothing runs may still be told where and with what to run.
fn validate_template_change(new: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut before = old["spec"]["template"].clone();
    let template = &new["spec"]["template"];
    let is_suspended = bool_at(old, &["spec", "suspend"]) == Some(true);
    let is_at_rest = (at(old, &["status", "startTime"]).is_none() || status::has(old, "Suspended"))
        && i64_at(old, &["status", "active"]).unwrap_or_default() == 0;
    if !is_suspended || !is_at_rest {
        if !semantic_eq(template, &before) {
            errors.push(FieldError::invalid(&path.child("template"), template, super::metadata::IMMUTABLE));
        }
        return;
    }
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        crate::value::copy_field(child_mut(&mut before, "spec"), &template["spec"], name);
    }
    copy_node_affinity(child_mut(&mut before, "spec"), &template["spec"]);
    for list in ["containers", "initContainers"] {
        let now = list_at(template, &["spec", list]);
        let before = crate::value::list_at_mut(&mut before, &["spec", list]);
        if before.len() == now.len() {
            for (container, now) in before.iter_mut().zip(now).filter(|(old, new)| old["name"] == new["name"]) {
                crate::value::copy_field(container, now, "resources");
            }
        }
    }
    if !semantic_eq(&template["spec"], &before["spec"]) {
        let spec = path.child("template.spec");
        errors.push(FieldError::invalid(&spec, &template["spec"], super::metadata::IMMUTABLE));
    }
}

/// Of the affinity only the part about nodes may change.
fn copy_node_affinity(before: &mut Value, now: &Value) {
    let is_known = at(before, &["affinity"]).is_some() || at(now, &["affinity"]).is_some();
    if !is_known {
        return;
    }
    let affinity = child_mut(before, "affinity");
    crate::value::copy_field(affinity, &now["affinity"], "nodeAffinity");
    if at(now, &["affinity"]).is_none() && as_object(affinity).is_empty() {
        as_object(before).remove("affinity");
    }
}
