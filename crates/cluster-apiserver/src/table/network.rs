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
        text("Type").about("type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types"),
        text("Cluster-IP").about("clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
        text("External-IP").about("externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system."),
        text("Port(s)").about("The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
        AGE,
        text("Selector").about("Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/").wide(),
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
