//! Validation of Services and Endpoints.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use serde_json::Value;

use super::{
    addresses::{is_externally_accessible, needs_health_check},
    is_headless,
};
use crate::{
    field_error::{FieldError, FieldPath},
    kinds::{
        check::{Errors, one_of, port, supported_value, texts},
        metadata::validate_labels,
        pod::{spec::validate_ip, validate_port},
    },
    names,
    schema::has_format,
    value::{at, i64_at, list_at, semantic_eq, str_at, strings_at},
};

const NOT_EXTERNAL: &str = "may not be set for ExternalName services";
const ONLY_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const MAY_NOT_CHANGE: &str = "may not change once set";
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn service(service: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("spec");
    let spec = &service["spec"];
    let kind = str_at(spec, &["type"]);
    let ports = list_at(spec, &["ports"]);
    if ports.is_empty() && !is_headless(service) && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    by_type(service, kind, &path, errors);
    let mut seen = BTreeSet::new();
    let list = path.child("ports");
    for (index, item) in ports.iter().enumerate() {
        let place = list.index(index);
        service_port(item, ports.len() > 1, &place, errors);
        let name = str_at(item, &["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&place.child("name"), name));
        }
    }
    validate_labels(&spec["selector"], &path.child("selector"), errors);
    affinity(spec, &path, errors);
    if kind != "ExternalName" {
        cluster_ips(service, &path, errors);
    }
    let list = path.child("externalIPs");
    for (index, ip) in strings_at(spec, &["externalIPs"]).iter().enumerate() {
        let before = errors.len();
        validate_ip(ip, &list.index(index), errors);
        if errors.len() == before {
            validate_endpoint_ip(ip, &list.index(index), errors);
        }
    }
    one_of(spec, "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], &path, errors);
    port_conflicts(ports, kind, &path.child("ports"), errors);
    balancer(spec, kind, &path, errors);
    traffic(service, kind, &path, errors);
}

fn by_type(service: &Value, kind: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let spec = &service["spec"];
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(service) {
        let list = path.child("clusterIPs");
        let text = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(&list.index(0), "None", &text));
    }
    if kind != "ExternalName" {
        return;
    }
    for name in ["clusterIPs", "ipFamilies"] {
        if !list_at(spec, &[name]).is_empty() {
            errors.push(FieldError::forbidden(&path.child(name), NOT_EXTERNAL));
        }
    }
    if at(spec, &["ipFamilyPolicy"]).is_some() {
        errors.push(FieldError::forbidden(&path.child("ipFamilyPolicy"), NOT_EXTERNAL));
    }
    let name = str_at(spec, &["externalName"]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("externalName"), ""));
    } else {
        texts(&path.child("externalName"), name, names::dns1123_subdomain(name), errors);
    }
}

fn service_port(item: &Value, needs_name: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let name = str_at(item, &["name"]);
    if !name.is_empty() {
        texts(&path.child("name"), name, names::dns1123_label(name), errors);
    } else if needs_name {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    port(i64_at(item, &["port"]).unwrap_or_default(), &path.child("port"), errors);
    one_of(item, "protocol", PROTOCOLS, path, errors);
    validate_port(&item["targetPort"], &path.child("targetPort"), errors);
    if let Some(protocol) = at(item, &["appProtocol"]).and_then(Value::as_str) {
        texts(&path.child("appProtocol"), protocol, names::qualified_name(protocol), errors);
    }
}

fn affinity(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    const MAX_S: i64 = 86_400;
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], path, errors);
    let field = path.child("sessionAffinityConfig");
    match str_at(spec, &["sessionAffinity"]) {
        "ClientIP" => {
            let timeout_s = i64_at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).unwrap_or_default();
            if !(1..=MAX_S).contains(&timeout_s) {
                let inner = field.child("clientIP");
                let text = format!("must be greater than 0 and less than {MAX_S}");
                errors.push(FieldError::invalid(&inner.child("timeoutSeconds"), timeout_s, &text));
            }
        }
        "None" if at(spec, &["sessionAffinityConfig"]).is_some() => {
            errors.push(FieldError::forbidden(&field, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// Checks the addresses of a Service that has some, and their families.
pub(super) fn cluster_ips(service: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let spec = &service["spec"];
    let single = str_at(spec, &["clusterIP"]);
    let ips = strings_at(spec, &["clusterIPs"]);
    let list = path.child("clusterIPs");
    match ips.first() {
        None if !single.is_empty() => errors.push(FieldError::required(&list, "")),
        Some(_) if single.is_empty() => {
            let text = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&list, &spec["clusterIPs"], text));
        }
        Some(first) if *first != single => {
            errors.push(FieldError::invalid(&list, &spec["clusterIPs"], "first value must match `clusterIP`"));
        }
        _ => {}
    }
    let families = path.child("ipFamilies");
    let named = strings_at(spec, &["ipFamilies"]);
    let mut seen = BTreeSet::new();
    for (index, family) in named.iter().enumerate() {
        supported_value(family, &["IPv4", "IPv6"], &families.index(index), errors);
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&families.index(index), *family));
        }
    }
    if let Some(policy) = at(spec, &["ipFamilyPolicy"]).and_then(Value::as_str) {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        supported_value(policy, &policies, &path.child("ipFamilyPolicy"), errors);
    }
    let before = errors.len();
    for (index, ip) in ips.iter().enumerate() {
        if index > 0 || *ip != "None" {
            validate_ip(ip, &list.index(index), errors);
        } else if ips.len() > 1 {
            errors.push(FieldError::invalid(&list, &spec["clusterIPs"], "'None' must be the first and only value"));
        }
    }
    let has_invalid = errors.len() > before;
    if ips.len() > 2 {
        errors.push(FieldError::invalid(&list, &spec["clusterIPs"], "may only hold up to 2 values"));
    }
    if has_invalid {
        return;
    }
    let is_four = |ip: &str| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4());
    let fours = ips.iter().filter(|ip| is_four(ip)).count();
    if ips.len() > 1 && (fours == 0 || fours == ips.len()) {
        let text = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&list, &spec["clusterIPs"], text));
    }
    for (index, (ip, family)) in ips.iter().zip(&named).enumerate().filter(|_| !is_headless(service)) {
        if (is_four(ip), *family) == (true, "IPv6") || (is_four(ip), *family) == (false, "IPv4") {
            let text = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&list.index(index), *ip, &text));
        }
    }
}

fn port_conflicts(ports: &[Value], kind: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let node_port = |item: &Value| i64_at(item, &["nodePort"]).unwrap_or_default();
    let mut seen = HashSet::new();
    for (index, item) in ports.iter().enumerate().filter(|(_, item)| node_port(item) != 0) {
        let place = path.index(index);
        if kind == "ClusterIP" {
            errors.push(FieldError::forbidden(&place.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
        if !seen.insert((&item["protocol"], node_port(item))) {
            errors.push(FieldError::duplicate(&place.child("nodePort"), node_port(item)));
        }
    }
    let mut seen = HashSet::new();
    for (index, item) in ports.iter().enumerate() {
        if !seen.insert((&item["protocol"], &item["port"])) {
            let reason = crate::field_error::FieldReason::Duplicate;
            // Kubernetes shows its own struct here.
            let message = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                item["protocol"], item["port"]
            );
            errors.push(FieldError { reason, field: path.index(index).to_string(), message });
        }
    }
}

fn balancer(spec: &Value, kind: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let is_balancer = kind == "LoadBalancer";
    let ranges = strings_at(spec, &["loadBalancerSourceRanges"]);
    let field = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !is_balancer {
        errors.push(FieldError::forbidden(&field, ONLY_BALANCER));
    }
    for (index, range) in ranges.iter().enumerate() {
        validate_cidr(range.trim(), &field.index(index), errors);
    }
    if at(spec, &["allocateLoadBalancerNodePorts"]).is_some() && !is_balancer {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCER));
    }
    if let Some(class) = at(spec, &["loadBalancerClass"]).and_then(Value::as_str) {
        let field = path.child("loadBalancerClass");
        if is_balancer {
            texts(&field, class, names::qualified_name(class), errors);
        } else {
            errors.push(FieldError::forbidden(&field, ONLY_BALANCER));
        }
    }
}

/// Checks an address range.
pub(in crate::kinds) fn validate_cidr(value: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if !has_format("cidr", value) {
        let text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path, value, text));
    }
}

fn traffic(service: &Value, kind: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let spec = &service["spec"];
    let external = str_at(spec, &["externalTrafficPolicy"]);
    let field = path.child("externalTrafficPolicy");
    if is_externally_accessible(service) {
        one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], path, errors);
    } else if !external.is_empty() {
        let text = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&field, external, text));
    }
    let field = path.child("healthCheckNodePort");
    match (needs_health_check(service), i64_at(spec, &["healthCheckNodePort"]).unwrap_or_default()) {
        (false, 0) => {}
        (false, number) => {
            let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&field, number, text));
        }
        (true, 0) => errors.push(FieldError::required(&field, "")),
        (true, number) => port(number, &field, errors),
    }
    match at(spec, &["internalTrafficPolicy"]).and_then(Value::as_str) {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.push(FieldError::required(&path.child("internalTrafficPolicy"), ""));
        }
        Some(policy) => {
            supported_value(policy, &["Cluster", "Local"], &path.child("internalTrafficPolicy"), errors);
        }
        None => {}
    }
    if let Some(policy) = at(spec, &["trafficDistribution"]).and_then(Value::as_str) {
        let policies = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        supported_value(policy, &policies, &path.child("trafficDistribution"), errors);
    }
}

/// What may not change once it is set.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let path = root.child("spec");
    let is_external = |service: &Value| str_at(service, &["spec", "type"]) == "ExternalName";
    let (headless, was_headless) = (is_headless(new), is_headless(old));
    if !is_external(new) && !is_external(old) {
        if !headless || !was_headless {
            keep_list("clusterIPs", new, old, &path, errors);
        }
        if !headless && !was_headless {
            keep_list("ipFamilies", new, old, &path, errors);
        }
    }
    let is_balancer = |service: &Value| str_at(service, &["spec", "type"]) == "LoadBalancer";
    let class = &new["spec"]["loadBalancerClass"];
    if is_balancer(new) && is_balancer(old) && !semantic_eq(class, &old["spec"]["loadBalancerClass"]) {
        errors.push(FieldError::invalid(&path.child("loadBalancerClass"), class, MAY_NOT_CHANGE));
    }
    let health = |service: &Value| i64_at(service, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    if needs_health_check(new) && needs_health_check(old) && health(new) != health(old) {
        errors.push(FieldError::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
}

/// Of addresses and of families a second may come and go, if the policy says so.
fn keep_list(name: &str, new: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let is_family = name == "ipFamilies";
    let (now, before) = (strings_at(new, &["spec", name]), strings_at(old, &["spec", name]));
    let field = path.child(name);
    let shown = &new["spec"][name];
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(&before).enumerate().filter(|(_, (now, before))| now != before) {
            let place = field.index(if is_family { 0 } else { index });
            errors.push(FieldError::invalid(&place, shown, MAY_NOT_CHANGE));
        }
        return;
    }
    if now.len() < before.len() && list_at(new, &["spec", "clusterIPs"]).is_empty() {
        let text = if is_family { "primary ipFamily can not be unset" } else { "primary clusterIP can not be unset" };
        errors.push(FieldError::invalid(&field.index(0), shown, text));
    }
    if let (Some(now), Some(before)) = (now.first(), before.first())
        && now != before
    {
        // Whichever list it is.
        errors.push(FieldError::invalid(&field.index(0), &new["spec"]["clusterIPs"], MAY_NOT_CHANGE));
    }
    let policy = &new["spec"]["ipFamilyPolicy"];
    if now.len() < before.len() && now.len() == 1 && policy != "SingleStack" {
        let what = if is_family { "ipFamily" } else { "clusterIP" };
        let text = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, &text));
    }
}

pub(super) fn status(service: &Value, errors: &mut Errors) {
    let root = FieldPath::Root;
    let status = root.child("status");
    let balancer = status.child("loadBalancer");
    let list = balancer.child("ingress");
    let points = list_at(service, &["status", "loadBalancer", "ingress"]);
    if !points.is_empty() && str_at(service, &["spec", "type"]) != "LoadBalancer" {
        let text = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&list, text));
        return;
    }
    validate_entries(service, &balancer, errors);
}

/// Checks where a load balancer listens, as it stands in a status.
pub(in crate::kinds) fn validate_entries(object: &Value, balancer: &FieldPath<'_>, errors: &mut Errors) {
    let list = balancer.child("ingress");
    for (index, point) in list_at(object, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let item = list.index(index);
        let ip = str_at(point, &["ip"]);
        if !ip.is_empty() {
            validate_ip(ip, &item.child("ip"), errors);
        }
        if let Some(mode) = at(point, &["ipMode"]).and_then(Value::as_str) {
            supported_value(mode, &["Proxy", "VIP"], &item.child("ipMode"), errors);
        }
        let host = str_at(point, &["hostname"]);
        if !host.is_empty() {
            texts(&item.child("hostname"), host, names::dns1123_subdomain(host), errors);
            if host.parse::<IpAddr>().is_ok() {
                let text = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&item.child("hostname"), host, text));
            }
        }
    }
}

/// Checks an address that traffic may be sent to.
pub(in crate::kinds) fn validate_endpoint_ip(value: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let Ok(ip) = value.parse::<IpAddr>() else {
        errors.push(FieldError::invalid(path, value, "must be a valid IP address"));
        return;
    };
    let (is_link_local, is_link_local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.push(FieldError::invalid(path, value, &format!("may not be unspecified ({value})")));
    }
    for (is_wrong, text) in [
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (is_link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if is_wrong {
            errors.push(FieldError::invalid(path, value, text));
        }
    }
}

/// Checks the subsets of Endpoints.
pub(super) fn subsets(endpoints: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for (index, subset) in list_at(endpoints, &["subsets"]).iter().enumerate() {
        let item = path.index(index);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| list_at(subset, &[list]).is_empty()) {
            errors.push(FieldError::required(&item, "must specify `addresses` or `notReadyAddresses`"));
        }
        for name in lists {
            let list = item.child(name);
            for (index, address) in list_at(subset, &[name]).iter().enumerate() {
                endpoint_address(address, &list.index(index), errors);
            }
        }
        let ports = list_at(subset, &["ports"]);
        let list = item.child("ports");
        for (index, item) in ports.iter().enumerate() {
            endpoint_port(item, ports.len() > 1, &list.index(index), errors);
        }
    }
}

fn endpoint_address(address: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let ip = str_at(address, &["ip"]);
    let before = errors.len();
    validate_ip(ip, &path.child("ip"), errors);
    let is_ip = errors.len() == before;
    let host = str_at(address, &["hostname"]);
    if !host.is_empty() {
        texts(&path.child("hostname"), host, names::dns1123_label(host), errors);
    }
    if let Some(node) = at(address, &["nodeName"]).and_then(Value::as_str) {
        texts(&path.child("nodeName"), node, names::dns1123_subdomain(node), errors);
    }
    if is_ip {
        validate_endpoint_ip(ip, &path.child("ip"), errors);
    } else {
        errors.push(FieldError::invalid(&path.child("ip"), ip, "must be a valid IP address"));
    }
}

fn endpoint_port(item: &Value, needs_name: bool, path: &FieldPath<'_>, errors: &mut Errors) {
    let name = str_at(item, &["name"]);
    if !name.is_empty() {
        texts(&path.child("name"), name, names::dns1123_label(name), errors);
    } else if needs_name {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    port(i64_at(item, &["port"]).unwrap_or_default(), &path.child("port"), errors);
    one_of(item, "protocol", PROTOCOLS, path, errors);
    if let Some(protocol) = at(item, &["appProtocol"]).and_then(Value::as_str) {
        texts(&path.child("appProtocol"), protocol, names::qualified_name(protocol), errors);
    }
}
