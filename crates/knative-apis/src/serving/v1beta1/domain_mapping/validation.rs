//! What is wrong with a DomainMapping.

use super::DomainMapping;
use crate::admission::{Context, Operation};
use crate::field_error::{FieldErrors, disallowed_fields};
use crate::go_text::quote;
use crate::meta::annotations;
use crate::validation::{creator_and_modifier, names, semantically_equal};

impl DomainMapping {
    /// What is wrong with it, also with the change from `old`.
    pub fn validate(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let mut metadata = self.name(&context.configs.cluster_domain);
        if let Some(old) = old.filter(|_| context.operation == Operation::Update) {
            let changed = !semantically_equal(&old.spec, &self.spec);
            let users = creator_and_modifier(changed, annotations(&old.metadata), annotations(&self.metadata));
            metadata.also(users.via_field("annotations"));
        }
        let reference = self.spec.reference.validate(namespace).via_field("ref").via_field("spec");
        metadata.via_field("metadata").and(reference)
    }

    fn name(&self, cluster_domain: &str) -> FieldErrors {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let mut errors = FieldErrors::none();
        if self.metadata.generate_name.as_deref().is_some_and(|prefix| !prefix.is_empty()) {
            errors.also(disallowed_fields(["generateName"]));
        }
        if let Some(problem) = names::fully_qualified_domain_name("name", name) {
            errors.also(FieldErrors::one(format!("invalid name {}: {problem}", quote(name)), ["name"]));
        }
        if name.ends_with(&format!(".{cluster_domain}")) {
            let problem = format!("must not be a subdomain of cluster local domain {}", quote(cluster_domain));
            errors.also(FieldErrors::one(format!("invalid name {}: {problem}", quote(name)), ["name"]));
        }
        errors
    }
}
