//! The one condition of a Configuration: whether its latest Revision is ready.

use super::{Configuration, ConfigurationStatus};
use crate::condition::{Conditioned, ConditionedStatus, READY};
use crate::go_text::quote;
use jiff::Timestamp;

impl Configuration {
    /// Whether the latest Revision that was made is the one that is ready.
    pub fn is_latest_ready_up_to_date(&self) -> bool {
        self.is_ready() && self.status.latest_created_revision_name == self.status.latest_ready_revision_name
    }
}

impl ConfigurationStatus {
    /// A Revision has been made; `Ready` waits for it.
    pub fn set_latest_created(&mut self, name: &str, now: Timestamp) {
        name.clone_into(&mut self.latest_created_revision_name);
        if self.latest_ready_revision_name != name {
            self.manage(now).mark_unknown(READY, "", "");
        }
    }

    /// A Revision has become ready; so is the Configuration if it is the latest.
    pub fn set_latest_ready(&mut self, name: &str, now: Timestamp) {
        name.clone_into(&mut self.latest_ready_revision_name);
        if self.latest_created_revision_name == name {
            self.manage(now).mark_true(READY);
        }
    }

    /// The latest Revision failed.
    pub fn mark_latest_created_failed(&mut self, name: &str, message: &str, now: Timestamp) {
        let message = format!("Revision {} failed with message: {message}.", quote(name));
        self.manage(now).mark_false(READY, "RevisionFailed", &message);
    }

    /// The next Revision could not be made.
    pub fn mark_revision_creation_failed(&mut self, message: &str, now: Timestamp) {
        let message = format!("Revision creation failed with message: {message}.");
        self.manage(now).mark_false(READY, "RevisionFailed", &message);
    }

    /// The Revision that was ready is gone.
    pub fn mark_latest_ready_deleted(&mut self, now: Timestamp) {
        let message = format!("Revision {} was deleted.", quote(&self.latest_ready_revision_name));
        self.manage(now).mark_false(READY, "RevisionDeleted", &message);
    }
}
