//! The life of namespaces: nothing is created in one that is missing or ending, and some are never deleted.

use serde_json::Value;

use crate::registry::Resource;
use crate::status::{Cause, Result, StatusError};
use crate::store::{ObjectKey, Store, TableName};
use crate::value::{at, str_at};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// # Errors
/// 404 if the namespace does not exist, 403 if it is ending.
pub(crate) fn check_create(store: &Store, resource: &Resource, namespace: &str, name: &str) -> Result<()> {
    if !resource.is_namespaced {
        return Ok(());
    }
    let stored = store.get(&TableName::from("namespaces"), &ObjectKey::new("", namespace));
    let Some(stored) = stored else { return Err(StatusError::not_found("", "namespaces", namespace)) };
    let object: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
    let is_ending = at(&object, &["metadata", "deletionTimestamp"]).is_some()
        || str_at(&object, &["status", "phase"]) == "Terminating";
    if !is_ending {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut refused = resource.forbidden(name, &why);
    if let Some(details) = &mut refused.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
    }
    Err(refused)
}

/// # Errors
/// 403 for a namespace that every cluster has.
pub(crate) fn check_delete(resource: &Resource, name: &str) -> Result<()> {
    if resource.is("", "namespaces") && IMMORTAL.contains(&name) {
        return Err(resource.forbidden(name, "this namespace may not be deleted"));
    }
    Ok(())
}
