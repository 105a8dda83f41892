//! Validation of a Pod's spec, in a Pod or in a template.
//!
//! This file goes through the spec in Kubernetes' order and checks what is plain; what has a shape of its own stands
//! next door ([`container`](super::container), [`volumes`](super::volumes), [`security`](super::security), …).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{container, security, volumes};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, one_of, supported_value, texts},
        metadata::{validate_annotations, validate_labels},
        resources::{self, Claims},
        scheduling,
    },
    names,
    value::{at, bool_at, i64_at, list_at, str_at, strings_at},
};

/// What checks inside a spec know of the rest of it.
pub(super) struct Scope<'a> {
    /// The whole spec.
    pub(super) spec: &'a Value,
    /// The volumes that are valid.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
    /// Its resource claims.
    pub(super) claims: Claims<'a>,
    /// Whether the spec is that of a Pod, not of a template.
    pub(super) is_pod: bool,
}

impl<'a> Scope<'a> {
    /// The valid volume of this name.
    pub(super) fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).copied()
    }

    /// Whether users inside are users outside.
    pub(super) fn has_host_users(&self) -> bool {
        bool_at(self.spec, &["hostUsers"]) != Some(false)
    }

    /// How long containers have to end.
    pub(super) fn grace_period_s(&self) -> Option<i64> {
        i64_at(self.spec, &["terminationGracePeriodSeconds"])
    }
}

/// Checks a PodTemplateSpec.
pub(in crate::kinds) fn validate_template(template: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    validate_labels(&template["metadata"]["labels"], &path.child("labels"), errors);
    validate_annotations(&template["metadata"]["annotations"], &path.child("annotations"), errors);
    let spec = path.child("spec");
    validate(template, &spec, false, errors);
    if !list_at(template, &["spec", "ephemeralContainers"]).is_empty() {
        errors.push(FieldError::forbidden(
            &spec.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// Checks the spec of a Pod or a template.
pub(super) fn validate(pod: &Value, path: &FieldPath<'_>, is_pod: bool, errors: &mut Errors) {
    let spec = &pod["spec"];
    let mut scope = Scope { spec, volumes: BTreeMap::new(), claims: Claims::of(spec), is_pod };
    let name = if is_pod { str_at(pod, &["metadata", "name"]) } else { "" };
    scope.volumes = volumes::validate(spec, name, &path.child("volumes"), errors);
    container::validate(&scope, path, errors);
    validate_host_network_ports(&scope, path, errors);
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, errors);
    one_of(spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], path, errors);
    validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::validate_pod(spec, path, errors);
    scheduling::validate_affinity(&spec["affinity"], &path.child("affinity"), errors);
    validate_dns(spec, &path.child("dnsConfig"), errors);
    validate_gates(spec, path, errors);
    scheduling::validate_spread(&spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"), errors);
    validate_host_users(spec, path, errors);
    validate_names(spec, path, errors);
    validate_active_deadline(spec, path, errors);
    validate_host_names(spec, path, errors);
    scheduling::validate_tolerations(&spec["tolerations"], &path.child("tolerations"), errors);
    validate_host_aliases(spec, &path.child("hostAliases"), errors);
    validate_classes(spec, path, errors);
    validate_os(spec, path, errors);
}

/// In the host's network a host port is the container's port.
fn validate_host_network_ports(scope: &Scope<'_>, path: &FieldPath<'_>, errors: &mut Errors) {
    if bool_at(scope.spec, &["hostNetwork"]) != Some(true) {
        return;
    }
    let containers = path.child("containers");
    for (index, container) in list_at(scope.spec, &["containers"]).iter().enumerate() {
        let item = containers.index(index);
        let ports = item.child("ports");
        for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
            let host = i64_at(port, &["hostPort"]).unwrap_or_default();
            let inner = i64_at(port, &["containerPort"]).unwrap_or_default();
            if (scope.is_pod || host != 0) && host != inner {
                let place = ports.index(index);
                let text = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&place.child("hostPort"), host, text));
            }
        }
    }
}

fn validate_dns(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX_SERVERS: usize = 3;
    const MAX_SEARCHES: usize = 32;
    let config = at(spec, &["dnsConfig"]);
    let servers = strings_at(spec, &["dnsConfig", "nameservers"]);
    if str_at(spec, &["dnsPolicy"]) == "None" {
        if config.is_none() {
            let text = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(path, text));
            return;
        }
        if servers.is_empty() {
            let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(&path.child("nameservers"), text));
            return;
        }
    }
    let Some(config) = config else { return };
    let field = path.child("nameservers");
    if servers.len() > MAX_SERVERS {
        let text = format!("must not have more than {MAX_SERVERS} nameservers");
        errors.push(FieldError::invalid(&field, &config["nameservers"], &text));
    }
    for (index, server) in servers.iter().enumerate() {
        validate_ip(server, &field.index(index), errors);
    }
    let searches = strings_at(config, &["searches"]);
    let field = path.child("searches");
    if searches.len() > MAX_SEARCHES {
        let text = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(FieldError::invalid(&field, &config["searches"], &text));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        let name = search.strip_suffix('.').unwrap_or(search);
        texts(&field.index(index), name, names::search_domain(name), errors);
    }
    let field = path.child("options");
    for (index, option) in list_at(config, &["options"]).iter().enumerate() {
        if str_at(option, &["name"]).is_empty() {
            errors.push(FieldError::required(&field.index(index), "must not be empty"));
        }
    }
}

/// Checks an IP address.
pub(in crate::kinds) fn validate_ip(ip: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if ip.parse::<std::net::IpAddr>().is_err() {
        let text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, ip, text));
    }
}

fn validate_gates(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("readinessGates");
    for (index, gate) in list_at(spec, &["readinessGates"]).iter().enumerate() {
        let name = str_at(gate, &["conditionType"]);
        texts(&field.index(index).child("conditionType"), name, names::qualified_name(name), errors);
    }
    let field = path.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (index, gate) in list_at(spec, &["schedulingGates"]).iter().enumerate() {
        let name = str_at(gate, &["name"]);
        texts(&field.index(index), name, names::qualified_name(name), errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&field.index(index), name));
        }
    }
}

fn validate_host_users(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if bool_at(spec, &["hostUsers"]) != Some(false) {
        return;
    }
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if bool_at(spec, &[name]) == Some(true) {
            errors.push(FieldError::forbidden(&path.child(shown), "when `hostUsers` is false"));
        }
    }
}

/// The names of a service account and a node.
fn validate_names(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let account = str_at(spec, &["serviceAccountName"]);
    if !account.is_empty() {
        texts(&path.child("serviceAccountName"), account, names::dns1123_subdomain(account), errors);
    }
    let old_name = str_at(spec, &["serviceAccount"]);
    if old_name != account {
        let text = format!("must be the same as serviceAccountName: {}", crate::field_error::quote(account));
        errors.push(FieldError::invalid(&path.child("deprecatedServiceAccount"), old_name, &text));
    }
    let node = str_at(spec, &["nodeName"]);
    if !node.is_empty() {
        texts(&path.child("nodeName"), node, names::dns1123_subdomain(node), errors);
    }
}

fn validate_active_deadline(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(seconds) = i64_at(spec, &["activeDeadlineSeconds"])
        && let Some(text) = names::in_range(seconds, 1, i64::from(i32::MAX))
    {
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), seconds, &text));
    }
}

fn validate_host_names(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for name in ["hostname", "subdomain"] {
        let value = str_at(spec, &[name]);
        if !value.is_empty() {
            texts(&path.child(name), value, names::dns1123_label(value), errors);
        }
    }
}

fn validate_host_aliases(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let item = path.index(index);
        validate_ip(str_at(alias, &["ip"]), &item.child("ip"), errors);
        let field = item.child("hostnames");
        for (index, name) in strings_at(alias, &["hostnames"]).iter().enumerate() {
            texts(&field.index(index), name, names::dns1123_subdomain(name), errors);
        }
    }
}

/// Priority and runtime classes, preemption and overhead.
fn validate_classes(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let priority = str_at(spec, &["priorityClassName"]);
    if !priority.is_empty() {
        texts(&path.child("priorityClassName"), priority, names::dns1123_subdomain(priority), errors);
    }
    if let Some(runtime) = at(spec, &["runtimeClassName"]).and_then(Value::as_str) {
        texts(&path.child("runtimeClassName"), runtime, names::dns1123_subdomain(runtime), errors);
    }
    if at(spec, &["preemptionPolicy"]).is_some() {
        one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path, errors);
    }
    if let Some(overhead) = at(spec, &["overhead"]) {
        let limits = serde_json::json!({ "limits": overhead });
        resources::validate_requirements(&limits, &Claims::default(), &path.child("overhead"), errors);
    }
}

fn validate_os(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(name) = at(spec, &["os", "name"]).and_then(Value::as_str) {
        let os = path.child("os");
        if name.is_empty() {
            errors.push(FieldError::required(&os.child("name"), "cannot be empty"));
        } else {
            supported_value(name, &["linux", "windows"], &os, errors);
        }
    }
}
