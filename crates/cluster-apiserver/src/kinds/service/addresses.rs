//! The addresses and ports of a Service: what it needs, and what stays as it was.
//!
//! The server owns the ranges. Before a Service is checked and stored it calls [`allocate`], which keeps what an update
//! does not mention, and asks the [`Allocator`] for the rest. Nothing is given back here: an address or port that no
//! stored Service names is free.
//!
//! Specified by the Service REST storage of kube-apiserver (`beginCreate`, `beginUpdate`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{is_headless, normalize};
use crate::{
    field_error::{FieldError, FieldPath},
    value::{as_object, at, bool_at, child_mut, i64_at, list_at, list_at_mut, semantic_eq, str_at, strings_at},
};

/// Hands out cluster IPs and node ports; refusals are in Kubernetes' words, without the address.
pub trait Allocator {
    /// Takes this address.
    fn take_ip(&mut self, ip: IpAddr) -> Result<(), String>;
    /// Takes any IPv4 address.
    fn take_any_ip(&mut self) -> Result<IpAddr, String>;
    /// Takes this node port.
    fn take_port(&mut self, port: u16) -> Result<(), String>;
    /// Takes any node port.
    fn take_any_port(&mut self) -> Result<u16, String>;
}

/// Completes the addresses and ports of a new Service, or of a change of `old`.
pub fn allocate(new: &mut Value, old: Option<&Value>, allocator: &mut dyn Allocator) -> Result<(), Vec<FieldError>> {
    if let Some(old) = old {
        patch_allocated(new, old);
    }
    normalize(new, old);
    if has_cluster_ip(new) {
        set_families(new, old)?;
        set_cluster_ip(new, old, allocator)?;
    }
    if has_node_ports(new) {
        set_node_ports(new, old, allocator)?;
    }
    if needs_health_check(new) {
        set_health_check_port(new, old, allocator)?;
    }
    Ok(())
}

fn has_cluster_ip(service: &Value) -> bool {
    str_at(service, &["spec", "type"]) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    matches!(str_at(service, &["spec", "type"]), "NodePort" | "LoadBalancer")
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

fn spec_of(service: &mut Value) -> &mut Map<String, Value> {
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
    if has_node_ports(old) && has_node_ports(new) {
        let ports = |service: &Value| -> BTreeSet<i64> {
            list_at(service, &["spec", "ports"]).iter().filter_map(|port| i64_at(port, &["nodePort"])).collect()
        };
        let (before, now) = (ports(old), ports(new));
        let is_used = |port: &i64| *port != 0 && before.contains(port) && now.contains(port);
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
    let ports = |service: &Value| -> Vec<Value> {
        list_at(service, &["spec", "ports"]).iter().map(|port| port["nodePort"].clone()).collect()
    };
    if has_node_ports(old) && !has_node_ports(new) && ports(old) == ports(new) {
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

/// One error about a field of `spec`.
fn refuse(names: &[&str], value: &Value, text: &str) -> Vec<FieldError> {
    let root = FieldPath::Root;
    let spec = root.child("spec");
    match names {
        [name] => vec![FieldError::invalid(&spec.child(name), value, text)],
        _ => Vec::new(),
    }
}

/// IPv4 is the only family here; a headless Service without selector names both, since its addresses are the user's.
fn set_families(new: &mut Value, old: Option<&Value>) -> Result<(), Vec<FieldError>> {
    let is_open = is_headless(new) && new["spec"]["selector"].as_object().is_none_or(Map::is_empty);
    if at(new, &["spec", "ipFamilyPolicy"]).is_none() {
        let before = old.and_then(|old| at(old, &["spec", "ipFamilyPolicy"])).cloned();
        let policy = before.unwrap_or(json!(if is_open { "RequireDualStack" } else { "SingleStack" }));
        spec_of(new).insert("ipFamilyPolicy".to_owned(), policy);
    }
    let policy = str_at(new, &["spec", "ipFamilyPolicy"]).to_owned();
    let mut families: Vec<String> = strings_at(new, &["spec", "ipFamilies"]).into_iter().map(str::to_owned).collect();
    if policy == "SingleStack" && families.len() > 1 {
        let text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        return Err(refuse(&["ipFamilyPolicy"], &json!(policy), text));
    }
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    if is_open {
        // A change that leaves the preference as it was adds none.
        let is_settled = policy == "PreferDualStack"
            && old.is_some_and(|old| {
                ["ipFamilyPolicy", "ipFamilies", "clusterIPs"].iter().all(|name| old["spec"][name] == new["spec"][name])
            });
        if policy != "SingleStack" && families.len() == 1 && !is_settled {
            let is_four = families.first().is_some_and(|family| family == "IPv4");
            families.push(if is_four { "IPv6" } else { "IPv4" }.to_owned());
        }
    } else {
        if policy == "RequireDualStack" {
            let text = "this cluster is not configured for dual-stack services";
            return Err(refuse(&["ipFamilyPolicy"], &json!(policy), text));
        }
        if let Some(index) = families.iter().position(|family| family == "IPv6") {
            let root = FieldPath::Root;
            let spec = root.child("spec");
            let list = spec.child("ipFamilies");
            return Err(vec![FieldError::invalid(&list.index(index), "IPv6", "not configured on this cluster")]);
        }
    }
    spec_of(new).insert("ipFamilies".to_owned(), json!(families));
    Ok(())
}

fn set_cluster_ip(new: &mut Value, old: Option<&Value>, allocator: &mut dyn Allocator) -> Result<(), Vec<FieldError>> {
    let wanted = str_at(new, &["spec", "clusterIP"]).to_owned();
    let is_kept = old.is_some_and(|old| has_cluster_ip(old) && str_at(old, &["spec", "clusterIP"]) == wanted);
    if wanted == "None" || (is_kept && !wanted.is_empty()) {
        return Ok(());
    }
    let ip = if wanted.is_empty() {
        allocator.take_any_ip().map_err(|text| refuse(&["clusterIPs"], &json!([]), &text))?.to_string()
    } else {
        // An address that is none is the validation's to refuse.
        let Ok(ip) = wanted.parse::<IpAddr>() else { return Ok(()) };
        allocator.take_ip(ip).map_err(|text| {
            refuse(&["clusterIPs"], &json!([wanted]), &format!("failed to allocate IP {wanted}: {text}"))
        })?;
        wanted
    };
    let spec = spec_of(new);
    spec.insert("clusterIP".to_owned(), json!(ip));
    spec.insert("clusterIPs".to_owned(), json!([ip]));
    Ok(())
}

/// One port of a Service has one node port, in whichever protocols it speaks.
fn set_node_ports(new: &mut Value, old: Option<&Value>, allocator: &mut dyn Allocator) -> Result<(), Vec<FieldError>> {
    let is_wanted = str_at(new, &["spec", "type"]) != "LoadBalancer"
        || bool_at(new, &["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
    let mut held: BTreeSet<i64> = old
        .map(|old| list_at(old, &["spec", "ports"]).iter().filter_map(|port| i64_at(port, &["nodePort"])).collect())
        .unwrap_or_default();
    let asked: Vec<(i64, i64)> = list_at(new, &["spec", "ports"])
        .iter()
        .map(|port| (i64_at(port, &["port"]).unwrap_or_default(), i64_at(port, &["nodePort"]).unwrap_or_default()))
        .collect();
    // What was asked for or given first counts.
    let mut shared: BTreeMap<i64, i64> = asked.iter().rev().copied().filter(|(_, node_port)| *node_port != 0).collect();
    let mut given = BTreeSet::new();
    for (index, port) in list_at_mut(new, &["spec", "ports"]).iter_mut().enumerate() {
        let (number, own) = asked.get(index).copied().unwrap_or_default();
        let node_port = match (own, shared.get(&number)) {
            (0, _) if !is_wanted => continue,
            (0, Some(node_port)) => *node_port,
            (0, None) => {
                let taken = allocator.take_any_port().map_err(|text| refuse_port(index, 0, &text))?;
                i64::from(taken)
            }
            (own, _) => own,
        };
        if own != 0 && !held.contains(&own) {
            let wanted = u16::try_from(own).map_err(|_| refuse_port(index, own, OUT_OF_RANGE))?;
            allocator.take_port(wanted).map_err(|text| refuse_port(index, own, &text))?;
        }
        held.insert(node_port);
        if given.insert(number) {
            shared.insert(number, node_port);
        }
        as_object(port).insert("nodePort".to_owned(), Value::from(node_port));
    }
    Ok(())
}

const OUT_OF_RANGE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";

fn refuse_port(index: usize, port: i64, text: &str) -> Vec<FieldError> {
    let root = FieldPath::Root;
    let spec = root.child("spec");
    let list = spec.child("ports");
    let item = list.index(index);
    vec![FieldError::invalid(&item.child("nodePort"), port, text)]
}

fn set_health_check_port(
    new: &mut Value,
    old: Option<&Value>,
    allocator: &mut dyn Allocator,
) -> Result<(), Vec<FieldError>> {
    let own = i64_at(new, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    let before = old.and_then(|old| i64_at(old, &["spec", "healthCheckNodePort"])).unwrap_or_default();
    if own != 0 && own == before {
        return Ok(());
    }
    let name = ["healthCheckNodePort"];
    let port = match u16::try_from(own) {
        Ok(0) => allocator.take_any_port().map_err(|text| refuse(&name, &json!(own), &text))?,
        Ok(port) => {
            let text = |text: String| format!("failed to allocate requested HealthCheck NodePort {port}: {text}");
            allocator.take_port(port).map_err(|error| refuse(&name, &json!(own), &text(error)))?;
            port
        }
        Err(_) => return Err(refuse(&name, &json!(own), OUT_OF_RANGE)),
    };
    spec_of(new).insert("healthCheckNodePort".to_owned(), Value::from(port));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Ranges {
        ips: Vec<IpAddr>,
        ports: Vec<u16>,
    }

    impl Allocator for Ranges {
        fn take_ip(&mut self, ip: IpAddr) -> Result<(), String> {
            if self.ips.contains(&ip) {
                return Err("provided IP is already allocated".to_owned());
            }
            self.ips.push(ip);
            Ok(())
        }

        fn take_any_ip(&mut self) -> Result<IpAddr, String> {
            let ip = IpAddr::from([10, 0, 0, u8::try_from(self.ips.len() + 1).expect("few")]);
            self.take_ip(ip).map(|()| ip)
        }

        fn take_port(&mut self, port: u16) -> Result<(), String> {
            if self.ports.contains(&port) {
                return Err("provided port is already allocated".to_owned());
            }
            self.ports.push(port);
            Ok(())
        }

        fn take_any_port(&mut self) -> Result<u16, String> {
            let port = 30000 + u16::try_from(self.ports.len()).expect("few");
            self.take_port(port).map(|()| port)
        }
    }

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
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
        let errors = allocate(&mut other, None, &mut ranges).expect_err("taken");
        assert_eq!(
            errors[0].to_string(),
            "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
        );
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
    }
}
