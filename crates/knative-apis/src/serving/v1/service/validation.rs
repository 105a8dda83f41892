//! What is wrong with a Service.

use super::Service;
use crate::admission::{Context, Operation};
use crate::field_error::FieldErrors;
use crate::meta::annotations;
use crate::serving::v1::route;
use crate::validation::{creator_and_modifier, metadata_without_autoscaling, rollout_duration, semantically_equal};

impl Service {
    /// What is wrong with it, also with the change from `old`. Of a status update the spec is not
    /// looked at: limits may have changed since it was accepted.
    pub fn validate(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors {
        let mut errors = FieldErrors::none();
        if !context.is_status() {
            let metadata = metadata_without_autoscaling(&self.metadata)
                .and(rollout_duration(annotations(&self.metadata)).via_field("annotations"));
            errors.also(metadata.via_field("metadata"));
            let template = self.spec.template.validate(&self.metadata, context.configs).via_field("template");
            errors.also(template.and(route::validate_traffic(&self.spec.traffic, true)).via_field("spec"));
        }
        if let Some(old) = old.filter(|_| context.operation == Operation::Update) {
            let changed = !semantically_equal(&old.spec, &self.spec);
            let users = creator_and_modifier(changed, annotations(&old.metadata), annotations(&self.metadata));
            errors.also(users.via_field("metadata.annotations"));
            errors.also(self.spec.template.verify_name_change(&old.spec.template).via_field("spec.template"));
        }
        errors
    }
}
