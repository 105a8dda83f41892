//! The addresses and ports of a Service: what it needs, and what stays as it was.
//!
//! The server owns the ranges. Before a Service is checked and stored it calls [`allocate`], which keeps what an update
//! does not mention, and asks the [`Allocator`] for the rest. Nothing is given back here: an address or port that no
//! stored Service names is free.
//!
//! Specified by the Service REST storage of kube-apiserver (`beginCreate`, `beginUpdate`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{families, is_headless, node_ports, normalize};
use crate::{
    field_error::{FieldError, FieldPath},
    value::{as_object, at, bool_at, child_mut, i64_at, list_at, list_at_mut, semantic_eq, str_at},
};

/// Hands out cluster IPs and node ports; refusals are in Kubernetes' words, without the address.
pub trait Allocator {
    /// Takes this address.
    fn take_ip(&mut self, ip: IpAddr) -> Result<(), String>;
    /// Takes any IPv4 address; none if there is no more.
    fn take_any_ip(&mut self) -> Option<IpAddr>;
    /// Takes this node port.
    fn take_port(&mut self, port: i64) -> Result<(), String>;
    /// Takes any node port; none if there is no more.
    fn take_any_port(&mut self) -> Option<u16>;
}

/// Why a Service does not get what it asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It asks for what cannot be.
    Invalid(Vec<FieldError>),
    /// An internal error: what it asks for is not to be had.
    Internal(String),
    /// An error that kube-apiserver gives no reason.
    Plain(String),
}

/// What an allocator says that has no more.
pub(super) const FULL: &str = "range is full";

/// Completes the addresses and ports of a new Service, or of a change of `old`.
pub fn allocate(new: &mut Value, old: Option<&Value>, allocator: &mut dyn Allocator) -> Result<(), Refusal> {
    if let Some(old) = old {
        patch_allocated(new, old);
    }
    normalize(new, old);
    if has_cluster_ip(new) {
        families::set(new, old).map_err(Refusal::Invalid)?;
        if old.is_none_or(|old| !has_cluster_ip(old)) {
            set_cluster_ip(new, allocator)?;
        }
    }
    if has_node_ports(new) {
        match old {
            Some(old) => node_ports::change(new, old, allocator)?,
            None => node_ports::set(new, allocator)?,
        }
    }
    if needs_health_check(new) && !old.is_some_and(needs_health_check) {
        set_health_check_port(new, allocator).map_err(Refusal::Internal)?;
    }
    Ok(())
}

pub(super) fn has_cluster_ip(service: &Value) -> bool {
    str_at(service, &["spec", "type"]) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    matches!(str_at(service, &["spec", "type"]), "NodePort" | "LoadBalancer")
}

/// Whether the ports that name no node port get one.
pub(super) fn wants_node_ports(service: &Value) -> bool {
    has_node_ports(service)
        && (str_at(service, &["spec", "type"]) != "LoadBalancer"
            || bool_at(service, &["spec", "allocateLoadBalancerNodePorts"]) != Some(false))
}

/// Whether the balancer asks a port of the node if it has Pods of this Service.
pub(super) fn needs_health_check(service: &Value) -> bool {
    str_at(service, &["spec", "type"]) == "LoadBalancer"
        && str_at(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// Whether traffic comes from outside the cluster.
pub(super) fn is_externally_accessible(service: &Value) -> bool {
    let is_cluster_ip = str_at(service, &["spec", "type"]) == "ClusterIP";
    has_node_ports(service) || (is_cluster_ip && !list_at(service, &["spec", "externalIPs"]).is_empty())
}

pub(super) fn spec_of(service: &mut Value) -> &mut Map<String, Value> {
    as_object(child_mut(service, "spec"))
}

/// Keeps addresses and ports that an update does not name.
pub(super) fn patch_allocated(new: &mut Value, old: &Value) {
    if has_cluster_ip(old) && has_cluster_ip(new) {
        for name in ["clusterIP", "clusterIPs"] {
            let is_open = at(new, &["spec", name]).is_none_or(|value| *value == "" || *value == json!([]));
            if let Some(before) = at(old, &["spec", name]).filter(|_| is_open) {
                spec_of(new).insert(name.to_owned(), before.clone());
            }
        }
    }
    if wants_node_ports(old) && wants_node_ports(new) {
        let (before, now) = (node_ports::of(old), node_ports::of(new));
        let is_used = |port: &i64| before.contains(port) && now.contains(port);
        let named: BTreeMap<&str, &Value> =
            list_at(old, &["spec", "ports"]).iter().map(|port| (str_at(port, &["name"]), port)).collect();
        for port in list_at_mut(new, &["spec", "ports"]) {
            let name = port["name"].as_str().unwrap_or_default();
            let same = named.get(name).and_then(|before| i64_at(before, &["nodePort"]));
            let number = same.filter(|port| !is_used(port));
            if let Some(number) = number.filter(|_| i64_at(port, &["nodePort"]).unwrap_or_default() == 0) {
                as_object(port).insert("nodePort".to_owned(), Value::from(number));
            }
        }
    }
    let port = i64_at(old, &["spec", "healthCheckNodePort"]);
    let is_open = i64_at(new, &["spec", "healthCheckNodePort"]).unwrap_or_default() == 0;
    if let Some(port) = port.filter(|_| is_open && needs_health_check(old) && needs_health_check(new)) {
        spec_of(new).insert("healthCheckNodePort".to_owned(), Value::from(port));
    }
}

/// Takes away what the old type had and the new one has not, unless the update set it anew.
pub(super) fn drop_type_dependent(new: &mut Value, old: &Value) {
    let is_same = |new: &Value, name: &str| semantic_eq(&new["spec"][name], &old["spec"][name]);
    let mut dropped = Vec::new();
    if has_cluster_ip(old) && !has_cluster_ip(new) {
        if is_same(new, "clusterIP") && is_same(new, "clusterIPs") {
            dropped.extend(["clusterIP", "clusterIPs"]);
        }
        dropped.extend(["ipFamilies", "ipFamilyPolicy"].iter().filter(|name| is_same(new, name)));
    }
    if needs_health_check(old) && !needs_health_check(new) && is_same(new, "healthCheckNodePort") {
        dropped.push("healthCheckNodePort");
    }
    let was_balanced = str_at(old, &["spec", "type"]) == "LoadBalancer";
    let is_balanced = str_at(new, &["spec", "type"]) == "LoadBalancer";
    if was_balanced && !is_balanced {
        let names = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        dropped.extend(names.iter().filter(|name| is_same(new, name)));
    }
    if is_externally_accessible(old) && !is_externally_accessible(new) && is_same(new, "externalTrafficPolicy") {
        dropped.push("externalTrafficPolicy");
    }
    if has_node_ports(old) && !has_node_ports(new) && node_ports::of(old).is_superset(&node_ports::of(new)) {
        for port in list_at_mut(new, &["spec", "ports"]) {
            as_object(port).remove("nodePort");
        }
    }
    for name in dropped {
        spec_of(new).remove(name);
    }
    if !is_balanced {
        as_object(child_mut(new, "status")).insert("loadBalancer".to_owned(), json!({}));
    }
}

/// Takes the address that is asked for, or any.
fn set_cluster_ip(new: &mut Value, allocator: &mut dyn Allocator) -> Result<(), Refusal> {
    if is_headless(new) {
        return Ok(());
    }
    let wanted = str_at(new, &["spec", "clusterIP"]).to_owned();
    let ip = match wanted.parse::<IpAddr>() {
        Ok(ip) => {
            allocator.take_ip(ip).map_err(|text| {
                let root = FieldPath::Root;
                let spec = root.child("spec");
                let text = format!("failed to allocate IP {wanted}: {text}");
                Refusal::Invalid(vec![FieldError::invalid(&spec.child("clusterIPs"), &json!([wanted]), &text)])
            })?;
            wanted
        }
        Err(_) => match allocator.take_any_ip() {
            Some(ip) => ip.to_string(),
            None => {
                let name = crate::field_error::quote(str_at(new, &["metadata", "name"]));
                return Err(Refusal::Internal(format!("failed to allocate a serviceIP for Service {name}: {FULL}")));
            }
        },
    };
    let spec = spec_of(new);
    spec.insert("clusterIP".to_owned(), json!(ip));
    spec.insert("clusterIPs".to_owned(), json!([ip]));
    Ok(())
}

fn set_health_check_port(new: &mut Value, allocator: &mut dyn Allocator) -> Result<(), String> {
    let wanted = i64_at(new, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    if wanted != 0 {
        let text = |text| format!("failed to allocate requested HealthCheck NodePort {wanted}: {text}");
        return allocator.take_port(wanted).map_err(text);
    }
    let port = allocator.take_any_port();
    let port = port.ok_or_else(|| format!("failed to allocate a HealthCheck NodePort 0: {FULL}"))?;
    spec_of(new).insert("healthCheckNodePort".to_owned(), Value::from(port));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Ranges {
        ips: Vec<IpAddr>,
        ports: Vec<i64>,
    }

    impl Allocator for Ranges {
        fn take_ip(&mut self, ip: IpAddr) -> Result<(), String> {
            if self.ips.contains(&ip) {
                return Err("provided IP is already allocated".to_owned());
            }
            self.ips.push(ip);
            Ok(())
        }

        fn take_any_ip(&mut self) -> Option<IpAddr> {
            let ip = IpAddr::from([10, 0, 0, u8::try_from(self.ips.len() + 1).expect("few")]);
            self.take_ip(ip).ok().map(|()| ip)
        }

        fn take_port(&mut self, port: i64) -> Result<(), String> {
            if self.ports.contains(&port) {
                return Err("provided port is already allocated".to_owned());
            }
            self.ports.push(port);
            Ok(())
        }

        fn take_any_port(&mut self) -> Option<u16> {
            let port = 30000 + u16::try_from(self.ports.len()).expect("few");
            self.take_port(i64::from(port)).ok().map(|()| port)
        }
    }

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
    }

    fn refusal(new: &mut Value, old: Option<&Value>, ranges: &mut Ranges) -> String {
        match allocate(new, old, ranges).expect_err("refused") {
            Refusal::Invalid(errors) => crate::field_error::aggregate(&errors),
            Refusal::Internal(text) | Refusal::Plain(text) => text,
        }
    }

    #[test]
    fn a_plain_service_gets_an_address() {
        let mut new = service(json!({"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80}]}));
        allocate(&mut new, None, &mut Ranges::default()).expect("allocated");
        let want = json!({
            "type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80}], "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"
        });
        assert_eq!(new["spec"], want);
        let mut again = service(json!({"type": "ClusterIP", "selector": {"a": "c"}, "ports": [{"port": 80}]}));
        allocate(&mut again, Some(&new), &mut Ranges::default()).expect("kept");
        assert_eq!(again["spec"]["clusterIP"], "10.0.0.1");
    }

    #[test]
    fn a_headless_service_without_selector_names_both_families() {
        let mut new = service(json!({"type": "ClusterIP", "clusterIP": "None"}));
        allocate(&mut new, None, &mut Ranges::default()).expect("allocated");
        assert_eq!(new["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(new["spec"]["ipFamilyPolicy"], "RequireDualStack");
        assert_eq!(new["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn node_ports_are_kept_and_taken_once() {
        let mut ranges = Ranges::default();
        let mut new =
            service(json!({"type": "NodePort", "ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}));
        allocate(&mut new, None, &mut ranges).expect("allocated");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], new["spec"]["ports"][1]["nodePort"]);
        let mut same = service(json!({"type": "NodePort", "ports": [{"port": 80, "name": "a"}]}));
        allocate(&mut same, Some(&new), &mut ranges).expect("kept");
        assert_eq!(same["spec"]["ports"][0]["nodePort"], 30000);
        let mut other = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}));
        assert_eq!(
            refusal(&mut other, None, &mut ranges),
            "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
        );
    }

    #[test]
    fn a_change_gives_every_port_a_node_port_of_its_own() {
        let mut ranges = Ranges::default();
        let old = service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}));
        let ports = json!([{"port": 53, "name": "a", "protocol": "UDP"}, {"port": 53, "name": "b", "protocol": "TCP"}]);
        let mut new = service(json!({"type": "NodePort", "ports": ports}));
        allocate(&mut new, Some(&old), &mut ranges).expect("allocated");
        assert_eq!(node_ports::of(&new), [30000, 30001].into());
        // Both are the nameless port of before.
        let old = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}));
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]);
        let mut new = service(json!({"type": "NodePort", "ports": ports}));
        assert_eq!(refusal(&mut new, Some(&old), &mut ranges), "duplicate nodePort: {TCP 30000}");
    }

    #[test]
    fn node_ports_go_with_the_type_that_has_them() {
        let old = service(
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}, {"port": 81, "nodePort": 30001}]}),
        );
        let mut fewer = service(json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30000}]}));
        drop_type_dependent(&mut fewer, &old);
        assert_eq!(fewer["spec"]["ports"], json!([{"port": 80}]));
        let mut other = service(json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30002}]}));
        drop_type_dependent(&mut other, &old);
        assert_eq!(other["spec"]["ports"], json!([{"port": 80, "nodePort": 30002}]));
    }

    #[test]
    fn what_is_wrong_with_addresses_is_said_before_any_is_taken() {
        let mut ranges = Ranges::default();
        let two = json!({"type": "ClusterIP", "selector": {"a": "b"}, "ipFamilies": ["IPv4", "IPv4"]});
        let text = "spec.ipFamilies[1]: Duplicate value: \"IPv4\"";
        assert_eq!(refusal(&mut service(two), None, &mut ranges), text);
        let spec = json!({"type": "ClusterIP", "selector": {"a": "b"}, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
        let old = service(spec);
        let mut six = old.clone();
        six["spec"]["ipFamilies"] = json!(["IPv6"]);
        let text =
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`";
        assert_eq!(refusal(&mut six, Some(&old), &mut ranges), text);
        assert!(ranges.ips.is_empty());
    }

    #[test]
    fn a_change_takes_no_other_address() {
        let mut ranges = Ranges::default();
        let old = service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}));
        let mut new = service(json!({"type": "ClusterIP", "clusterIP": "8.8.8.8"}));
        // Validation says that it may not change.
        allocate(&mut new, Some(&old), &mut ranges).expect("nothing taken");
        assert!(ranges.ips.is_empty());
        assert_eq!(new["spec"]["clusterIPs"], json!(["8.8.8.8"]));
    }

    #[test]
    fn a_port_for_health_checks_that_is_taken_is_a_fault() {
        let mut ranges = Ranges { ports: vec![30002], ..Ranges::default() };
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30002});
        let text = "failed to allocate requested HealthCheck NodePort 30002: provided port is already allocated";
        assert_eq!(refusal(&mut service(spec), None, &mut ranges), text);
    }

    #[test]
    fn a_service_that_becomes_external_gives_its_address_up() {
        let old = service(
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"}),
        );
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        new["spec"].as_object_mut().expect("spec").remove("clusterIP");
        allocate(&mut new, Some(&old), &mut Ranges::default()).expect("nothing needed");
        drop_type_dependent(&mut new, &old);
        assert_eq!(new["spec"], json!({"type": "ExternalName", "internalTrafficPolicy": "Cluster"}));
        let old = service(json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}));
        let mut new = service(json!({"type": "ExternalName", "clusterIP": "None"}));
        allocate(&mut new, Some(&old), &mut Ranges::default()).expect("nothing needed");
        drop_type_dependent(&mut new, &old);
        assert_eq!(new["spec"], json!({"type": "ExternalName"}));
    }
}
