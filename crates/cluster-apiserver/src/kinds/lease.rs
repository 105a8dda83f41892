//! Lease: who leads, and since when.

use serde_json::Value;

use super::{
    Strategy,
    check::{Errors, non_negative, positive},
};
use crate::{
    field_error::FieldPath,
    value::{as_object, child_mut},
};

pub(super) struct Lease;

impl Strategy for Lease {
    fn prepare_create(&self, lease: &mut Value) {
        drop_coordination(lease);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _subresource: Option<&str>) {
        drop_coordination(new);
    }

    fn validate_create(&self, lease: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        positive(&lease["spec"], "leaseDurationSeconds", &path, errors);
        non_negative(&lease["spec"], "leaseTransitions", &path, errors);
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Coordinated leader election is off, as it is by default in Kubernetes.
fn drop_coordination(lease: &mut Value) {
    let spec = as_object(child_mut(lease, "spec"));
    spec.remove("strategy");
    spec.remove("preferredHolder");
}
