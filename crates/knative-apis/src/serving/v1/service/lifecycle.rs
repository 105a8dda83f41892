//! The conditions of a Service: copies of what its Configuration and Route say, and why they lag.

use super::ServiceStatus;
use crate::condition::{ConditionedStatus, READY};
use crate::go_text::quote;
use crate::serving::not_owned_message;
use crate::serving::v1::{ConfigurationStatus, RouteStatus};
use jiff::Timestamp;

/// The condition that the Configuration is ready.
pub const CONFIGURATIONS_READY: &str = "ConfigurationsReady";
/// The condition that the Route is ready.
pub const ROUTES_READY: &str = "RoutesReady";

impl ServiceStatus {
    /// A Configuration of that name belongs to somebody else.
    pub fn mark_configuration_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = not_owned_message("Configuration", name);
        self.manage(now).mark_false(CONFIGURATIONS_READY, "NotOwned", &message);
    }

    /// A Route of that name belongs to somebody else.
    pub fn mark_route_not_owned(&mut self, name: &str, now: Timestamp) {
        let message = not_owned_message("Route", name);
        self.manage(now).mark_false(ROUTES_READY, "NotOwned", &message);
    }

    /// The Configuration's status is about an older spec.
    pub fn mark_configuration_not_reconciled(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(
            CONFIGURATIONS_READY,
            "OutOfDate",
            "The Configuration is still working to reflect the latest desired specification.",
        );
    }

    /// The Route's status is about an older spec.
    pub fn mark_route_not_reconciled(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(
            ROUTES_READY,
            "OutOfDate",
            "The Route is still working to reflect the latest desired specification.",
        );
    }

    /// The Route does not yet send traffic to the latest ready Revision.
    pub fn mark_route_not_yet_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(
            ROUTES_READY,
            "TrafficNotMigrated",
            "Traffic is not yet migrated to the latest revision.",
        );
    }

    /// The name that the user chose for the Revision belongs to another.
    pub fn mark_revision_name_taken(&mut self, name: &str, now: Timestamp) {
        let message = format!(
            "The revision name {} is taken by a conflicting Revision, so traffic will not be migrated",
            quote(name)
        );
        self.manage(now).mark_false(ROUTES_READY, "RevisionNameTaken", &message);
    }

    /// Copies what the Configuration says.
    pub fn propagate_configuration(&mut self, configuration: &ConfigurationStatus, now: Timestamp) {
        self.latest_ready_revision_name.clone_from(&configuration.latest_ready_revision_name);
        self.latest_created_revision_name.clone_from(&configuration.latest_created_revision_name);
        self.manage(now).copy(CONFIGURATIONS_READY, configuration.condition(READY));
    }

    /// Copies what the Route says.
    pub fn propagate_route(&mut self, route: &RouteStatus, now: Timestamp) {
        self.url.clone_from(&route.url);
        self.address.clone_from(&route.address);
        self.traffic.clone_from(&route.traffic);
        self.manage(now).copy(ROUTES_READY, route.condition(READY));
    }
}
