//! What the store keeps of an object and its readers do not see.
//!
//! There is one such field: a Service that is only a name keeps the `internalTrafficPolicy` that it had, and has it again with another type.
//! As in kube-apiserver it is hidden where the Service itself is read, and seen where its status is, and where a write begins or ends its deletion.

use std::sync::Arc;

use serde_json::Value;

use crate::registry::Resource;
use crate::store::Stored;
use crate::value::{as_object, at, child_mut, list_at, str_at};

const NAMED: &[u8] = b"\"ExternalName\"";

/// Takes out of an object what its readers do not see.
pub(super) fn object(resource: &Resource, object: &mut Value) {
    if resource.is("", "services") && str_at(object, &["spec", "type"]) == "ExternalName" {
        as_object(child_mut(object, "spec")).remove("internalTrafficPolicy");
    }
}

/// Whether an object that is not in the store is one that the write has ended.
pub(super) fn is_ended(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some() && list_at(object, &["metadata", "finalizers"]).is_empty()
}

/// A stored object as its readers see it.
pub(super) fn stored(resource: &Resource, stored: &mut Arc<Stored>) {
    if !resource.is("", "services") || memchr::memmem::find(&stored.body, NAMED).is_none() {
        return;
    }
    let Ok(mut seen) = serde_json::from_slice::<Value>(&stored.body) else { return };
    object(resource, &mut seen);
    *stored = Arc::new(Stored {
        key: stored.key.clone(),
        revision: stored.revision,
        shape: stored.shape,
        labels: stored.labels.clone(),
        body: seen.to_string().into(),
    });
}
