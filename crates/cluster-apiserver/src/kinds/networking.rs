//! EndpointSlice, Ingress, IngressClass and NetworkPolicy.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{
    Generation, Rules, Strategy,
    check::{Errors, fixed, immutable, one_of, supported_value, texts},
    pod::{spec::validate_ip, validate_port},
    selector,
    service::{validate_cidr, validate_endpoint_ip, validate_entries},
    strategy::bump_generation,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, entries_at, i64_at, list_at, semantic_eq, str_at, strings_at},
};

/// EndpointSlice: a part of what is behind a Service.
pub(super) struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn rules(&self) -> Rules {
        Rules {
            generation: Generation::CountsMetadata(&["addressType", "endpoints", "ports"], "labels"),
            ..Rules::PLAIN
        }
    }

    fn validate_create(&self, slice: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        one_of(slice, "addressType", &["FQDN", "IPv4", "IPv6"], &root, errors);
        validate_slice_ports(slice, &root.child("ports"), errors);
        validate_endpoints(slice, &root.child("endpoints"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let root = FieldPath::Root;
        one_of(new, "addressType", &["FQDN", "IPv4", "IPv6"], &root, errors);
        validate_slice_ports(new, &root.child("ports"), errors);
        if !semantic_eq(&new["endpoints"], &old["endpoints"]) {
            validate_endpoints(new, &root.child("endpoints"), errors);
        }
        fixed(new, old, "addressType", &root, errors);
    }
}

fn validate_slice_ports(slice: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX: usize = 20_000;
    let ports = list_at(slice, &["ports"]);
    if ports.len() > MAX {
        errors.push(FieldError::too_many(path, ports.len(), MAX));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let item = path.index(index);
        let name = str_at(port, &["name"]);
        if !name.is_empty() {
            texts(&item.child("name"), name, names::dns1123_label(name), errors);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&item.child("name"), name));
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &item, errors);
        if let Some(protocol) = at(port, &["appProtocol"]).and_then(Value::as_str) {
            texts(&item.child("appProtocol"), protocol, names::qualified_name(protocol), errors);
        }
    }
}

fn validate_endpoints(slice: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX: usize = 1000;
    const MAX_ADDRESSES: usize = 100;
    let endpoints = list_at(slice, &["endpoints"]);
    if endpoints.len() > MAX {
        errors.push(FieldError::too_many(path, endpoints.len(), MAX));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let item = path.index(index);
        let list = item.child("addresses");
        let addresses = strings_at(endpoint, &["addresses"]);
        if addresses.is_empty() {
            errors.push(FieldError::required(&list, ""));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(FieldError::too_many(&list, addresses.len(), MAX_ADDRESSES));
        }
        for (index, address) in addresses.iter().enumerate() {
            validate_address(slice, address, &list, index, errors);
        }
        if let Some(node) = at(endpoint, &["nodeName"]).and_then(Value::as_str) {
            texts(&item.child("nodeName"), node, names::dns1123_subdomain(node), errors);
        }
        if let Some(host) = at(endpoint, &["hostname"]).and_then(Value::as_str) {
            texts(&item.child("hostname"), host, names::dns1123_label(host), errors);
        }
    }
}

fn validate_address(slice: &Value, address: &str, list: &FieldPath<'_>, index: usize, errors: &mut Errors) {
    let place = list.index(index);
    let family = str_at(slice, &["addressType"]);
    match (family, address.parse::<IpAddr>()) {
        ("IPv4" | "IPv6", Err(_)) => validate_ip(address, &place, errors),
        ("IPv4" | "IPv6", Ok(ip)) => {
            if ip.is_ipv4() != (family == "IPv4") {
                errors.push(FieldError::invalid(list, address, &format!("must be an {family} address")));
            }
            validate_endpoint_ip(address, &place, errors);
        }
        ("FQDN", _) => validate_fqdn(address, &place, errors),
        _ => {}
    }
}

fn validate_fqdn(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(bare);
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, bare, &wrong.join(",")));
    } else if !bare.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, bare, text));
    }
}

/// Ingress: hosts and paths to Services.
pub(super) struct Ingress;

impl Strategy for Ingress {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"loadBalancer":{}}"#, ..Rules::SPEC_AND_STATUS }
    }

    fn validate_create(&self, ingress: &Value, errors: &mut Errors) {
        const CLASS: &str = "kubernetes.io/ingress.class";
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &ingress["spec"];
        let rules = list_at(spec, &["rules"]);
        let backend = at(spec, &["defaultBackend"]);
        if rules.is_empty() && backend.is_none() {
            let text = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid(&path, &spec["rules"], text));
        }
        if let Some(backend) = backend {
            validate_backend(backend, &path.child("defaultBackend"), errors);
        }
        let list = path.child("rules");
        for (index, rule) in rules.iter().enumerate() {
            validate_ingress_rule(rule, &list.index(index), errors);
        }
        validate_ingress_tls(spec, &path.child("tls"), errors);
        let class = at(spec, &["ingressClassName"]).and_then(Value::as_str);
        if let Some(class) = class {
            texts(&path.child("ingressClassName"), class, names::dns1123_subdomain(class), errors);
        }
        let annotation = at(ingress, &["metadata", "annotations", CLASS]).and_then(Value::as_str);
        if let (Some(annotation), Some(class)) = (annotation, class)
            && annotation != class
        {
            let annotations = root.child("annotations");
            let text = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&annotations.child(CLASS), annotation, text));
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() {
            self.validate_create(new, errors);
            return;
        }
        let root = FieldPath::Root;
        let status = root.child("status");
        validate_entries(new, &status.child("loadBalancer"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        const CLASS: &str = "kubernetes.io/ingress.class";
        let is_old_style =
            at(new, &["metadata", "annotations", CLASS]).is_some() && at(new, &["spec", "ingressClassName"]).is_none();
        if old.is_some() || !is_old_style {
            return Vec::new();
        }
        vec![format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")]
    }
}

fn validate_host(host: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let wrong = if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns1123_subdomain(host) };
    texts(path, host, wrong, errors);
}

fn validate_ingress_tls(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, tls) in list_at(spec, &["tls"]).iter().enumerate() {
        let item = path.index(index);
        let hosts = item.child("hosts");
        for (index, host) in strings_at(tls, &["hosts"]).iter().enumerate() {
            validate_host(host, &hosts.index(index), errors);
        }
        let secret = str_at(tls, &["secretName"]);
        if !secret.is_empty() {
            texts(&item.child("secretName"), secret, names::dns1123_subdomain(secret), errors);
        }
    }
}

fn validate_ingress_rule(rule: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let host = str_at(rule, &["host"]);
    if !host.is_empty() {
        let field = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&field, host, "must be a DNS name, not an IP address"));
        }
        validate_host(host, &field, errors);
    }
    let Some(http) = at(rule, &["http"]) else { return };
    let field = path.child("http");
    let list = field.child("paths");
    let paths = list_at(http, &["paths"]);
    if paths.is_empty() {
        errors.push(FieldError::required(&list, ""));
    }
    for (index, item) in paths.iter().enumerate() {
        validate_ingress_path(item, &list.index(index), errors);
    }
}

fn validate_ingress_path(item: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let Some(kind) = at(item, &["pathType"]).and_then(Value::as_str) else {
        errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
        return;
    };
    let target = str_at(item, &["path"]);
    let field = path.child("path");
    let is_literal = matches!(kind, "Exact" | "Prefix");
    let is_checked = is_literal || (kind == "ImplementationSpecific" && !target.is_empty());
    if is_checked && !target.starts_with('/') {
        errors.push(FieldError::invalid(&field, target, "must be an absolute path"));
    }
    if is_literal {
        for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| target.contains(**part)) {
            errors.push(FieldError::invalid(&field, target, &format!("must not contain '{part}'")));
        }
        for end in ["/..", "/."].iter().filter(|end| target.ends_with(**end)) {
            errors.push(FieldError::invalid(&field, target, &format!("cannot end with '{end}'")));
        }
    }
    supported_value(kind, &["Exact", "ImplementationSpecific", "Prefix"], &path.child("pathType"), errors);
    validate_backend(&item["backend"], &path.child("backend"), errors);
}

fn validate_backend(backend: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match (at(backend, &["resource"]), at(backend, &["service"])) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
        }
        (Some(resource), None) => {
            let field = path.child("resource");
            for name in ["kind", "name"] {
                super::check::required(resource, name, &field, errors);
            }
        }
        (None, Some(service)) => {
            let field = path.child("service");
            let name = super::check::required(service, "name", &field, errors);
            if !name.is_empty() {
                texts(&field.child("name"), name, names::dns1123_label(name), errors);
            }
            validate_backend_port(service, path, errors);
        }
        (None, None) => errors.push(FieldError::invalid(path, "", "resource or service backend is required")),
    }
}

fn validate_backend_port(service: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let service_path = path.child("service");
    let field = service_path.child("port");
    let name = str_at(service, &["port", "name"]);
    let number = i64_at(service, &["port", "number"]).unwrap_or_default();
    match (name.is_empty(), number) {
        (false, 0) => texts(&field.child("name"), name, names::port_name(name), errors),
        (false, _) => {
            errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
        }
        (true, 0) => errors.push(FieldError::required(path, "port name or number is required")),
        (true, number) => super::check::port(number, &field.child("number"), errors),
    }
}

/// IngressClass: who serves Ingresses.
pub(super) struct IngressClass;

impl Strategy for IngressClass {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Counts(&["spec"]), ..Rules::PLAIN }
    }

    fn validate_create(&self, class: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let controller = str_at(class, &["spec", "controller"]);
        let field = path.child("controller");
        if controller.len() > 250 {
            errors.push(FieldError::too_long(&field, 250));
        }
        validate_prefixed_path(controller, &field, errors);
        let Some(parameters) = at(class, &["spec", "parameters"]) else { return };
        let field = path.child("parameters");
        let namespace = at(parameters, &["namespace"]).and_then(Value::as_str);
        match (str_at(parameters, &["scope"]), namespace) {
            ("Namespace", None) => {
                let text = "`parameters.scope` is set to 'Namespace'";
                errors.push(FieldError::required(&field.child("namespace"), text));
            }
            ("Cluster", Some(_)) => {
                let text = "`parameters.scope` is set to 'Cluster'";
                errors.push(FieldError::forbidden(&field.child("namespace"), text));
            }
            ("Namespace" | "Cluster", _) => {}
            (other, _) => {
                errors.push(FieldError::not_supported(&field.child("scope"), other, &["Cluster", "Namespace"]));
            }
        }
        for name in ["kind", "name"] {
            super::check::required(parameters, name, &field, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let root = FieldPath::Root;
        immutable(&new["spec"], &old["spec"], "controller", &root.child("spec"), errors);
        self.validate_create(new, errors);
    }
}

/// Checks a path such as `acme.io/foo`.
fn validate_prefixed_path(value: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    match value.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            texts(path, host, names::dns1123_subdomain(host), errors);
            let is_form = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b));
            if !is_form {
                let text = names::regex_text("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
                errors.push(FieldError::invalid(path, rest, &text));
            }
        }
        _ => {
            let text = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid(path, value, text));
        }
    }
}

/// NetworkPolicy: who may talk to whom.
pub(super) struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Once, ..Rules::PLAIN }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _subresource: Option<&str>) {
        // An absent and an empty list of rules differ here.
        if new["spec"] != old["spec"] {
            bump_generation(new);
        }
    }

    fn validate_create(&self, policy: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &policy["spec"];
        selector::validate(&spec["podSelector"], &path.child("podSelector"), errors);
        for (name, peers) in [("ingress", "from"), ("egress", "to")] {
            let list = path.child(name);
            for (index, rule) in list_at(spec, &[name]).iter().enumerate() {
                let item = list.index(index);
                let ports = item.child("ports");
                for (index, port) in list_at(rule, &["ports"]).iter().enumerate() {
                    validate_policy_port(port, &ports.index(index), errors);
                }
                let field = item.child(peers);
                for (index, peer) in list_at(rule, &[peers]).iter().enumerate() {
                    validate_peer(peer, &field.index(index), errors);
                }
            }
        }
        let list = path.child("policyTypes");
        let types = strings_at(spec, &["policyTypes"]);
        if types.len() > 2 {
            let text = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid(&list, &spec["policyTypes"], text));
            return;
        }
        for (index, kind) in types.iter().enumerate() {
            supported_value(kind, &["Ingress", "Egress"], &list.index(index), errors);
        }
    }
}

fn validate_policy_port(port: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(protocol) = at(port, &["protocol"]).and_then(Value::as_str) {
        supported_value(protocol, &["TCP", "UDP", "SCTP"], &path.child("protocol"), errors);
    }
    let end = i64_at(port, &["endPort"]);
    let field = path.child("endPort");
    match (at(port, &["port"]), end) {
        (None, Some(end)) => {
            errors.push(FieldError::invalid(&field, end, "may not be specified when `port` is not specified"));
        }
        (Some(Value::String(_)), Some(end)) => {
            errors.push(FieldError::invalid(&field, end, "may not be specified when `port` is non-numeric"));
        }
        (Some(number), Some(end)) => {
            if end < number.as_i64().unwrap_or_default() {
                errors.push(FieldError::invalid(&field, end, "must be greater than or equal to `port`"));
            }
            super::check::port(end, &field, errors);
        }
        (_, None) => {}
    }
    if let Some(port) = at(port, &["port"]) {
        validate_port(port, &path.child("port"), errors);
    }
}

fn validate_peer(peer: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let count = entries_at(peer, &[]).count();
    for name in ["podSelector", "namespaceSelector"] {
        selector::validate(&peer[name], &path.child(name), errors);
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
    let Some(block) = at(peer, &["ipBlock"]) else { return };
    if count > 1 {
        errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
    let field = path.child("ipBlock");
    let cidr = super::check::required(block, "cidr", &field, errors);
    if !cidr.is_empty() {
        validate_cidr(cidr, &field.child("cidr"), errors);
    }
    let except = field.child("except");
    for (index, value) in strings_at(block, &["except"]).iter().enumerate() {
        validate_cidr(value, &except.index(index), errors);
    }
}
