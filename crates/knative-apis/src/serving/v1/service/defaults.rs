//! What a Service has when its author says nothing.

use super::Service;
use crate::admission::Context;
use crate::serving::v1::configuration::default_template;
use crate::serving::v1::{TrafficTarget, route};
use crate::validation::semantically_equal;

impl Service {
    /// Fills in what was left out, and who did it.
    pub fn set_defaults(&mut self, old: Option<&Self>, context: &Context<'_>) {
        default_template(&mut self.spec.template, old.map(|old| &old.spec.template), &self.metadata, context);
        if self.spec.traffic.is_empty() {
            self.spec.traffic.push(TrafficTarget {
                percent: Some(100),
                latest_revision: Some(true),
                ..TrafficTarget::default()
            });
        }
        route::default_traffic(&mut self.spec.traffic);
        let unchanged = old.is_some_and(|old| semantically_equal(&old.spec, &self.spec));
        context.set_user(&mut self.metadata, unchanged);
    }
}
