//! Node: a machine that runs Pods.

use std::collections::HashSet;

use serde_json::Value;

use super::{Rules, Strategy, check::Errors, resources::validate_amount, scheduling::validate_taints};
use crate::{
    field_error::{FieldError, FieldPath},
    value::{entries_at, list_at, str_at},
};

pub(super) struct Node;

impl Strategy for Node {
    fn rules(&self) -> Rules {
        Rules::STATUS
    }

    fn prepare_create(&self, _node: &mut Value) {
        // A node registers itself with its status.
    }

    fn validate_create(&self, node: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let metadata = root.child("metadata");
        // Kubernetes names this place so.
        validate_taints(&node["spec"]["taints"], &metadata.child("taints"), errors);
        validate_resources(node, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let root = FieldPath::Root;
        validate_resources(new, errors);
        validate_addresses(new, errors);
        let spec = root.child("spec");
        let old_cidrs = list_at(old, &["spec", "podCIDRs"]);
        if !old_cidrs.is_empty() && old_cidrs != list_at(new, &["spec", "podCIDRs"]) {
            let text = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&spec.child("podCIDRs"), text));
        }
        let (provider, old_provider) = (str_at(new, &["spec", "providerID"]), str_at(old, &["spec", "providerID"]));
        if !old_provider.is_empty() && provider != old_provider {
            let text = if provider.is_empty() {
                "field cannot be cleared once set"
            } else {
                "field cannot be modified once set"
            };
            errors.push(FieldError::invalid(&spec.child("providerID"), &Value::Null, text));
        }
        validate_taints(&new["spec"]["taints"], &root.child("metadata").child("taints"), errors);
        if new["spec"]["externalID"] != old["spec"]["externalID"] {
            errors.push(FieldError::forbidden(&spec.child("externalID"), "may not be updated"));
        }
    }
}

fn validate_resources(node: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let status = root.child("status");
    for list in ["capacity", "allocatable"] {
        for (name, value) in entries_at(node, &["status", list]) {
            validate_amount(name, value, &status.child(list).child(name), errors);
        }
    }
}

fn validate_addresses(node: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let status = root.child("status");
    let path = status.child("addresses");
    let addresses = list_at(node, &["status", "addresses"]);
    let mut seen = HashSet::new();
    for (index, address) in addresses.iter().enumerate() {
        if !seen.insert(address) {
            errors.push(FieldError::duplicate(&path.index(index), address));
        }
    }
}
