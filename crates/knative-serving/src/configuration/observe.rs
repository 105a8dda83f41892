//! What the plan of a Configuration looks at.

use std::sync::Arc;

use base_controller::Key;
use knative_apis::serving::v1::{Configuration, Revision};
use serde::Serialize;

use super::resources::revision_name;
use crate::caches::{Caches, index_value};

/// The facts about one Configuration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Configuration.
    pub(crate) configuration: Arc<Configuration>,
    /// Every Revision that carries its name as a label.
    pub(crate) revisions: Vec<Arc<Revision>>,
    /// The Revision that has the name of the next one, whoever made it.
    pub(crate) named: Option<Arc<Revision>>,
}

/// Reads the facts; none if the Configuration is gone or going.
pub(crate) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let configuration = caches.configurations.get(key)?;
    if configuration.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let named = caches.revisions.get(&Key::new(key.namespace(), revision_name(&configuration)));
    let revisions = caches.revisions_of_configuration.get(&index_value(key));
    Some(Observed { configuration, revisions, named })
}
