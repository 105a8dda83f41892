//! How traffic finds its way: Services, endpoints, Ingresses, policies.

use serde_json::Value;

use super::{AGE, NAME, NONE, Printer, UNSET, first_few, integer, join, name, object_age, or_none, text};
use crate::kinds::selector;
use crate::value::{i64_at, list_at, str_at, strings_at};

/// So many endpoints, ports or hosts are shown.
const SHOWN: usize = 3;

pub(super) const SERVICE: Printer = Printer {
    columns: &[
        NAME,
        text("Type"),
        text("Cluster-IP"),
        text("External-IP"),
        text("Port(s)"),
        AGE,
        text("Selector").wide(),
    ],
    cells: |object, now| {
        let cluster_ip = strings_at(object, &["spec", "clusterIPs"]).first().copied().unwrap_or_default();
        let ports: Vec<String> = list_at(object, &["spec", "ports"]).iter().map(service_port).collect();
        vec![
            name(object),
            str_at(object, &["spec", "type"]).into(),
            or_none(cluster_ip).into(),
            external_address(object).into(),
            join(&ports).into(),
            object_age(object, now),
            selector::labels_text(&object["spec"]["selector"]).into(),
        ]
    },
};

pub(super) const ENDPOINTS: Printer = Printer {
    columns: &[NAME, text("Endpoints"), AGE],
    cells: |object, now| {
        let endpoints = list_at(object, &["subsets"]).iter().flat_map(subset);
        vec![name(object), first_few(endpoints, SHOWN, NONE).into(), object_age(object, now)]
    },
};

pub(super) const ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
    cells: |object, now| {
        let ports = list_at(object, &["ports"]).iter().map(|port| match i64_at(port, &["port"]) {
            Some(number) => number.to_string(),
            None if !str_at(port, &["name"]).is_empty() => str_at(port, &["name"]).to_owned(),
            None => "*".to_owned(),
        });
        let endpoints = list_at(object, &["endpoints"]).iter();
        let addresses = endpoints.flat_map(|endpoint| strings_at(endpoint, &["addresses"])).map(str::to_owned);
        vec![
            name(object),
            str_at(object, &["addressType"]).into(),
            first_few(ports, SHOWN, UNSET).into(),
            first_few(addresses, SHOWN, UNSET).into(),
            object_age(object, now),
        ]
    },
};

pub(super) const INGRESS: Printer = Printer {
    columns: &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
    cells: |object, now| {
        let rules = list_at(object, &["spec", "rules"]).iter().map(|rule| str_at(rule, &["host"]).to_owned());
        let hosts = rules.filter(|host| !host.is_empty());
        let has_tls = !list_at(object, &["spec", "tls"]).is_empty();
        vec![
            name(object),
            or_none(str_at(object, &["spec", "ingressClassName"])).into(),
            first_few(hosts, SHOWN, "*").into(),
            balancers(object).join(",").into(),
            if has_tls { "80, 443" } else { "80" }.into(),
            object_age(object, now),
        ]
    },
};

pub(super) const INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, text("Controller"), text("Parameters"), AGE],
    cells: |object, now| {
        let parameters = &object["spec"]["parameters"];
        let kind = crate::kinds::qualify(str_at(parameters, &["kind"]), str_at(parameters, &["apiGroup"]));
        let parameters = match str_at(parameters, &["name"]) {
            "" => NONE.to_owned(),
            name => format!("{kind}/{name}"),
        };
        vec![name(object), str_at(object, &["spec", "controller"]).into(), parameters.into(), object_age(object, now)]
    },
};

pub(super) const NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, text("Pod-Selector"), AGE],
    cells: |object, now| {
        vec![name(object), selector::text(&object["spec"]["podSelector"]).into(), object_age(object, now)]
    },
};

fn service_port(port: &Value) -> String {
    let (number, protocol) = (integer(port, &["port"]), str_at(port, &["protocol"]));
    match integer(port, &["nodePort"]) {
        0 => format!("{number}/{protocol}"),
        node_port => format!("{number}:{node_port}/{protocol}"),
    }
}

/// Where a Service is reached from outside.
fn external_address(service: &Value) -> String {
    let own = strings_at(service, &["spec", "externalIPs"]).into_iter().map(str::to_owned);
    match str_at(service, &["spec", "type"]) {
        "ExternalName" => str_at(service, &["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let all: Vec<String> = balancers(service).into_iter().chain(own).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => join(&own.collect::<Vec<_>>()),
    }
}

/// The addresses that load balancers gave.
fn balancers(object: &Value) -> Vec<String> {
    let given = list_at(object, &["status", "loadBalancer", "ingress"]).iter();
    let addresses = given.map(|ingress| match str_at(ingress, &["ip"]) {
        "" => str_at(ingress, &["hostname"]),
        ip => ip,
    });
    addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

/// The ready addresses of a subset, with each of its ports.
fn subset(subset: &Value) -> Vec<String> {
    let ips: Vec<&str> = list_at(subset, &["addresses"]).iter().map(|address| str_at(address, &["ip"])).collect();
    let ports = list_at(subset, &["ports"]);
    if ports.is_empty() {
        return ips.into_iter().map(str::to_owned).collect();
    }
    let host = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let on_port = |port: i64| ips.iter().map(move |ip| format!("{}:{port}", host(ip)));
    ports.iter().flat_map(|port| on_port(integer(port, &["port"])).collect::<Vec<_>>()).collect()
}
