//! Defaults of Services, Endpoints and their neighbours.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::value::{as_object, is_absent, set_default, set_default_str};

const CLIENT_IP_AFFINITY_S: i64 = 10_800;

pub(super) fn core_hook(name: &str) -> Option<Hook> {
    Some(match name {
        "Service" => service,
        "ServicePort" => service_port,
        "EndpointPort" => |port| set_default_str(port, "protocol", "TCP"),
        _ => return None,
    })
}

pub(super) fn hook(name: &str) -> Option<Hook> {
    Some(match name {
        "api.discovery.v1.EndpointPort" => endpoint_slice_port,
        "api.networking.v1.NetworkPolicyPort" => |port| set_default(port, "protocol", "TCP"),
        "api.networking.v1.NetworkPolicySpec" => network_policy,
        "api.networking.v1.IngressClassParametersReference" => |parameters| set_default(parameters, "scope", "Cluster"),
        _ => return None,
    })
}

fn text<'a>(map: &'a Map<String, Value>, name: &str) -> &'a str {
    map.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn service(service: &mut Map<String, Value>) {
    let spec = as_object(service.entry("spec").or_insert(Value::Null));
    affinity(spec);
    set_default_str(spec, "type", "ClusterIP");
    let kind = text(spec, "type").to_owned();
    let is_node_port = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    let has_external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if is_node_port || (kind == "ClusterIP" && has_external_ips) {
        set_default_str(spec, "externalTrafficPolicy", "Cluster");
    }
    if is_node_port || kind == "ClusterIP" {
        set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind != "LoadBalancer" {
        return;
    }
    set_default(spec, "allocateLoadBalancerNodePorts", true);
    let ingress =
        service.get_mut("status").map(|status| crate::value::list_at_mut(status, &["loadBalancer", "ingress"]));
    for point in ingress.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !text(point, "ip").is_empty() {
            set_default(point, "ipMode", "VIP");
        }
    }
}

fn affinity(spec: &mut Map<String, Value>) {
    set_default_str(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = spec.get("sessionAffinityConfig").map(|config| &config["clientIP"]["timeoutSeconds"]);
            if is_absent(timeout) {
                let config = json!({"clientIP": {"timeoutSeconds": CLIENT_IP_AFFINITY_S}});
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
}

/// A port leads to the same port of the pods.
fn service_port(port: &mut Map<String, Value>) {
    set_default_str(port, "protocol", "TCP");
    let is_open = port.get("targetPort").is_none_or(|target| target.is_null() || *target == 0 || *target == "");
    if is_open {
        let number = port.get("port").cloned().unwrap_or(Value::from(0));
        port.insert("targetPort".to_owned(), number);
    }
}

fn endpoint_slice_port(port: &mut Map<String, Value>) {
    set_default(port, "name", "");
    set_default(port, "protocol", "TCP");
}

fn network_policy(spec: &mut Map<String, Value>) {
    if !is_absent(spec.get("policyTypes")) {
        return;
    }
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    spec.insert("policyTypes".to_owned(), if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}
