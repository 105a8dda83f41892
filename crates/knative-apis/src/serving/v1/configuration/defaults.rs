//! What a Configuration has when its author says nothing.

use super::Configuration;
use crate::admission::Context;
use crate::serving::v1::RevisionTemplateSpec;
use crate::validation::semantically_equal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

impl Configuration {
    /// Fills in what was left out, and who did it. An owned Configuration carries its owner's users.
    pub fn set_defaults(&mut self, old: Option<&Self>, context: &Context<'_>) {
        default_template(&mut self.spec.template, old.map(|old| &old.spec.template), &self.metadata, context);
        if self.metadata.owner_references.is_none() {
            let unchanged = old.is_some_and(|old| semantically_equal(&old.spec, &self.spec));
            context.set_user(&mut self.metadata, unchanged);
        }
    }
}

/// Fills in a template. One that keeps a name its author chose is left as it is: a new default
/// would be a change without a new name.
pub(crate) fn default_template(
    template: &mut RevisionTemplateSpec,
    old: Option<&RevisionTemplateSpec>,
    parent: &ObjectMeta,
    context: &Context<'_>,
) {
    template.spec.canonicalize();
    let name = template.metadata.name.as_deref().filter(|name| !name.is_empty());
    let keeps_name = name.is_some() && old.is_some_and(|old| old.metadata.name.as_deref() == name);
    if !keeps_name {
        template.spec.set_defaults(parent, context);
    }
}
