//! What is wrong with a Configuration.

use super::Configuration;
use crate::admission::{Context, Operation};
use crate::field_error::FieldErrors;
use crate::meta::{annotations, label};
use crate::validation::{creator_and_modifier, metadata_without_autoscaling, owner_of_label, semantically_equal};

impl Configuration {
    /// What is wrong with it, also with the change from `old`.
    pub fn validate(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors {
        let mut errors = FieldErrors::none();
        if !context.is_status() {
            let metadata = metadata_without_autoscaling(&self.metadata)
                .and(owner_of_label(&self.metadata, label::SERVICE, "Service").via_field("labels"));
            errors.also(metadata.via_field("metadata"));
            let template = self.spec.template.validate(&self.metadata, context.configs);
            errors.also(template.via_field("template").via_field("spec"));
        }
        if let Some(old) = old.filter(|_| context.operation == Operation::Update) {
            if self.metadata.owner_references.is_none() {
                let changed = !semantically_equal(&old.spec, &self.spec);
                let users = creator_and_modifier(changed, annotations(&old.metadata), annotations(&self.metadata));
                errors.also(users.via_field("metadata.annotations"));
            }
            errors.also(self.spec.template.verify_name_change(&old.spec.template).via_field("spec.template"));
        }
        errors
    }
}
