//! What a DomainMapping has when its author says nothing.

use super::DomainMapping;
use crate::admission::Context;
use crate::validation::semantically_equal;

impl DomainMapping {
    /// Fills in what was left out, and who did it.
    pub fn set_defaults(&mut self, old: Option<&Self>, context: &Context<'_>) {
        self.spec.reference.set_defaults(self.metadata.namespace.as_deref().unwrap_or_default());
        let unchanged = old.is_some_and(|old| semantically_equal(&old.spec, &self.spec));
        context.set_user(&mut self.metadata, unchanged);
    }
}
