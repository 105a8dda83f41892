//! CronJob: what it must be like. What a schedule may be, `base_cron` knows, as for the controller that follows it.

use serde_json::Value;

use super::super::{
    Rules, Strategy,
    check::{Errors, non_negative, one_of},
    workloads::{name_warnings, template_warnings},
};
use super::validate_template_spec;
use crate::{
    field_error::{FieldError, FieldPath},
    value::{at, bool_at, str_at},
};

/// CronJob: Jobs by the clock.
pub(crate) struct CronJob;

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
        let mut warnings = name_warnings(new, old);
        warnings.extend(template_warnings(new, old, &["spec", "jobTemplate", "spec", "template"]));
        warnings
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
    } else if let Err(error) = base_cron::Schedule::parse(schedule) {
        errors.push(FieldError::invalid(&field, schedule, &error.to_string()));
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
