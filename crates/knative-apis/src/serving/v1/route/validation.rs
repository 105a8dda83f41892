//! What is wrong with a Route or a split of traffic.

use super::{Route, TrafficTarget};
use crate::admission::{Context, Operation};
use crate::field_error::{
    CURRENT_FIELD, FieldErrors, disallowed_fields, invalid_array_value, invalid_key_name, missing_one_of,
    multiple_one_of, out_of_bounds,
};
use crate::go_text::{list, quote};
use crate::meta::{annotations, label};
use crate::validation::{
    creator_and_modifier, metadata_without_autoscaling, names, owner_of_label, rollout_duration, semantically_equal,
};
use std::collections::BTreeMap;

impl Route {
    /// What is wrong with it, also with the change from `old`.
    pub fn validate(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors {
        let mut errors = metadata_without_autoscaling(&self.metadata)
            .and(owner_of_label(&self.metadata, label::SERVICE, "Service").via_field("labels"))
            .and(rollout_duration(annotations(&self.metadata)).via_field("annotations"))
            .via_field("metadata");
        errors.also(traffic(&self.spec.traffic, false).via_field("spec"));
        if let Some(old) = old.filter(|_| context.operation == Operation::Update)
            && self.metadata.owner_references.is_none()
        {
            let changed = !semantically_equal(&old.spec, &self.spec);
            let users = creator_and_modifier(changed, annotations(&old.metadata), annotations(&self.metadata));
            errors.also(users.via_field("metadata.annotations"));
        }
        errors
    }
}

/// What is wrong with a split. In a Service every target is of its own Configuration.
pub(crate) fn traffic(traffic: &[TrafficTarget], in_service: bool) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = 0_i64;
    for (index, target) in traffic.iter().enumerate() {
        errors.also(target.validate(in_service).via_index(index));
        sum = sum.saturating_add(target.share());
        if target.tag.is_empty() {
            continue;
        }
        let problems = names::dns1035_label(&target.tag);
        if !problems.is_empty() {
            errors.also(invalid_array_value(format!("not a DNS 1035 label: {}", list(&problems)), "tag", index));
        }
        match tags.get(target.tag.as_str()) {
            Some(first) => {
                let paths = [format!("[{index}].tag"), format!("[{first}].tag")];
                errors.also(FieldErrors::one(format!("Multiple definitions for {}", quote(&target.tag)), paths));
            }
            None => {
                tags.insert(&target.tag, index);
            }
        }
    }
    if sum != 100 {
        errors.also(FieldErrors::one(format!("Traffic targets sum to {sum}, want 100"), [CURRENT_FIELD]));
    }
    errors.via_field("traffic")
}

impl TrafficTarget {
    fn validate(&self, in_service: bool) -> FieldErrors {
        let mut errors = self.latest().and(self.target(in_service));
        if let Some(percent) = self.percent.filter(|percent| !(0..=100).contains(percent)) {
            errors.also(out_of_bounds(percent, 0, 100, "percent"));
        }
        if !self.url.is_empty() {
            errors.also(disallowed_fields(["url"]));
        }
        errors
    }

    fn latest(&self) -> FieldErrors {
        let names_one = !self.revision_name.is_empty();
        match self.latest_revision {
            Some(latest) if latest == names_one => {
                let name = quote(&self.revision_name);
                let message = format!("may not set revisionName {name} when latestRevision is {latest}");
                FieldErrors::one(message, ["latestRevision"])
            }
            _ => FieldErrors::none(),
        }
    }

    fn target(&self, in_service: bool) -> FieldErrors {
        let (revision, configuration) = (&self.revision_name, &self.configuration_name);
        match (revision.is_empty(), configuration.is_empty()) {
            (_, false) if in_service => disallowed_fields(["configurationName"]),
            (false, false) => multiple_one_of(["revisionName", "configurationName"]),
            (false, true) => name(revision, "revisionName"),
            (true, false) => name(configuration, "configurationName"),
            (true, true) if in_service => FieldErrors::none(),
            (true, true) => missing_one_of(["revisionName", "configurationName"]),
        }
    }
}

fn name(name: &str, path: &str) -> FieldErrors {
    let problems = names::qualified_name(name);
    if problems.is_empty() {
        return FieldErrors::none();
    }
    invalid_key_name(name, path).with_details(problems.join(", "))
}
