//! What the collection looks at.

use std::sync::Arc;

use base_controller::Key;
use knative_apis::serving::v1::{Configuration, Revision};
use serde::Serialize;

use crate::caches::{Caches, index_value};

/// The facts about one Configuration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Configuration.
    pub(crate) configuration: Arc<Configuration>,
    /// Its Revisions that are not going already.
    pub(crate) revisions: Vec<Arc<Revision>>,
}

/// Reads the facts; none if the Configuration is gone or going: its Revisions go with it.
pub(crate) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let configuration = caches.configurations.get(key)?;
    if configuration.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut revisions = caches.revisions_of_configuration.get(&index_value(key));
    revisions.retain(|revision| revision.metadata.deletion_timestamp.is_none());
    Some(Observed { configuration, revisions })
}
