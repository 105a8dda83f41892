//! What a Route has when its author says nothing.

use super::{Route, TrafficTarget};
use crate::admission::Context;
use crate::validation::semantically_equal;

impl Route {
    /// Fills in what was left out, and who did it. An owned Route carries its owner's users.
    pub fn set_defaults(&mut self, old: Option<&Self>, context: &Context<'_>) {
        traffic(&mut self.spec.traffic);
        if self.metadata.owner_references.is_none() {
            let unchanged = old.is_some_and(|old| semantically_equal(&old.spec, &self.spec));
            context.set_user(&mut self.metadata, unchanged);
        }
    }
}

/// Fills in targets: one without a Revision is the latest, one without a share has none.
pub(crate) fn traffic(traffic: &mut [TrafficTarget]) {
    for target in traffic {
        let names_none = target.revision_name.is_empty();
        target.latest_revision.get_or_insert(names_none);
        target.percent.get_or_insert(0);
    }
}
