//! What is wrong with a Revision, its template, or its spec.

use super::{Revision, RevisionSpec, RevisionTemplateSpec};
use crate::admission::{Context, Operation};
use crate::annotations::validate_autoscaling;
use crate::config::Configs;
use crate::field_error::{CURRENT_FIELD, FieldErrors, Level, disallowed_fields, invalid_value, out_of_bounds};
use crate::go_text::{float, list, quote};
use crate::meta::{annotation, annotations, label};
use crate::quantity::Quantity;
use crate::validation::{
    container_concurrency, metadata_with_autoscaling, names, networking_annotations, normalized, owner_of_label,
    pod_spec, short_diff, whole_positive_duration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

impl Revision {
    /// What is wrong with it; its spec must equal that of `old`.
    pub fn validate(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors {
        let metadata = metadata_with_autoscaling(&self.metadata, &context.configs.autoscaler)
            .and(owner_of_label(&self.metadata, label::CONFIGURATION, "Configuration").via_field("labels"))
            .via_field("metadata");
        match old.filter(|_| context.operation == Operation::Update) {
            None => metadata.and(self.spec.validate(context.configs).via_field("spec")),
            Some(old) => {
                let diff = short_diff("v1.RevisionSpec", &normalized(&old.spec), &normalized(&self.spec));
                if diff.is_empty() {
                    return metadata;
                }
                FieldErrors::one("Immutable fields changed (-old +new)", ["spec"]).with_details(diff)
            }
        }
    }
}

impl RevisionTemplateSpec {
    /// What is wrong with it, inside of the Service or Configuration that `parent` describes.
    pub fn validate(&self, parent: &ObjectMeta, configs: &Configs) -> FieldErrors {
        let asked = annotations(&self.metadata);
        let notes = validate_autoscaling(asked, &configs.autoscaler)
            .and(networking_annotations(asked))
            .and(queue_sidecar_resources(asked))
            .and(whole_positive_duration(asked, annotation::PROGRESS_DEADLINE, "progress-deadline"));
        self.spec
            .validate(configs)
            .via_field("spec")
            .and(notes.via_field("metadata.annotations"))
            .and(revision_name(&self.metadata, parent))
    }

    /// That a template whose author chose the Revision's name changes the name with the rest.
    pub fn verify_name_change(&self, old: &Self) -> FieldErrors {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.is_empty() || old.metadata.name.as_deref() != Some(name) {
            return FieldErrors::none();
        }
        let diff = short_diff("*v1.RevisionTemplateSpec", &normalized(old), &normalized(self));
        if diff.is_empty() {
            return FieldErrors::none();
        }
        FieldErrors::one("Saw the following changes without a name change (-old +new)", ["metadata.name"])
            .with_details(diff)
    }
}

impl RevisionSpec {
    /// What is wrong with it.
    pub fn validate(&self, configs: &Configs) -> FieldErrors {
        let max = configs.defaults.max_revision_timeout_seconds;
        let mut errors = pod_spec::pod_spec(&self.pod, &configs.features);
        if let Some(timeout) = self.timeout_seconds.filter(|timeout| !(0..=max).contains(timeout)) {
            errors.also(out_of_bounds(timeout, 0, max, "timeoutSeconds"));
        }
        if let Some(limit) = self.container_concurrency {
            errors.also(container_concurrency(limit, &configs.defaults).via_field("containerConcurrency"));
        }
        errors
    }
}

/// A name that the author chose begins with the parent's and `-`.
fn revision_name(template: &ObjectMeta, parent: &ObjectMeta) -> FieldErrors {
    let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
    let (name, prefix) = (text(&template.name), text(&template.generate_name));
    let (parent_name, parent_prefix) = (text(&parent.name), text(&parent.generate_name));
    let problems = names::dns1035_label_prefix(&prefix);
    if !prefix.is_empty() && !problems.is_empty() {
        let value = format!("not a DNS 1035 label prefix: {}", list(&problems));
        return invalid_value(value, "metadata.generateName");
    }
    if name.is_empty() {
        return FieldErrors::none();
    }
    let problems = names::dns1035_label(&name);
    if !problems.is_empty() {
        return invalid_value(format!("not a DNS 1035 label: {}", list(&problems)), "metadata.name");
    }
    if parent_name.is_empty() && !parent_prefix.is_empty() {
        return disallowed_fields(["metadata.name"]);
    }
    let needed = format!("{parent_name}-");
    if name.starts_with(&needed) {
        return FieldErrors::none();
    }
    invalid_value(format!("{} must have prefix {}", quote(&name), quote(&needed)), "metadata.name")
}

/// What is wrong with the annotations that size the sidecar.
fn queue_sidecar_resources(asked: &BTreeMap<String, String>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if let Some((key, text)) = annotation::QUEUE_RESOURCE_PERCENTAGE.get(asked) {
        let nowhere: [&str; 0] = [];
        let deprecated = "Queue proxy resource percentage annotation is deprecated. Please use the available annotations \
                          to explicitly set resource values per service";
        errors.also(FieldErrors::one(deprecated, nowhere).at(Level::Warning));
        match text.parse::<f64>().ok().filter(|number| !number.is_nan()) {
            None => errors.also(invalid_value(text, CURRENT_FIELD).via_key(key)),
            Some(value) if !(0.1..=100.0).contains(&value) => {
                errors.also(out_of_bounds(float(value), float(0.1), float(100.0), CURRENT_FIELD).via_key(key));
            }
            Some(_) => {}
        }
    }
    for known in [
        annotation::QUEUE_CPU_REQUEST,
        annotation::QUEUE_CPU_LIMIT,
        annotation::QUEUE_MEMORY_REQUEST,
        annotation::QUEUE_MEMORY_LIMIT,
        annotation::QUEUE_EPHEMERAL_STORAGE_REQUEST,
        annotation::QUEUE_EPHEMERAL_STORAGE_LIMIT,
    ] {
        if let Some((key, text)) = known.get(asked).filter(|(_, text)| Quantity::parse(text).is_err()) {
            errors.also(invalid_value(text, CURRENT_FIELD).via_key(key));
        }
    }
    errors
}
