//! Where the Services behind routes lead: their Endpoints, ready for lookups by requests.
//!
//! A Service has one cell for its whole life, whose content is swapped when its Service or Endpoints change; the map of cells is copied only
//! when a Service comes or goes. Readers never wait. A port that leads to the activator (its address is one of `activator-service`) says
//! so, and a gateway that has the activator in its process then makes a call.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use base_net::connect::{Address, Target};
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints, Service, ServicePort};
use knative_apis::meta::internal_tls::ROUTING_NAME;
use knative_apis::meta::{Key, label, label_value, port};
use knative_logic::route_table::Port;
use rustls_pki_types::ServerName;

use crate::internal_tls::name_of_namespace;
use crate::pods::Pod;

/// One port of a Service.
#[derive(Debug)]
pub(crate) struct ServingPort {
    number: u16,
    name: String,
    /// Whether the Pods are activators.
    pub(crate) is_activator: bool,
    /// Whether TLS is spoken with them.
    pub(crate) is_secured: bool,
    /// Who answers.
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl ServingPort {
    fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.pods.iter().filter_map(|pod| address(pod))
    }

    fn is(&self, port: &Port) -> bool {
        match port {
            Port::Number(number) => self.number == *number,
            Port::Name(name) => self.name == *name,
        }
    }
}

type Cell = ArcSwap<Vec<Arc<ServingPort>>>;

/// The Services. Shared by the workers.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    cells: ArcSwap<HashMap<Key, Arc<Cell>>>,
    activators: ArcSwap<BTreeSet<SocketAddr>>,
    /// Taken by writers.
    writing: Mutex<()>,
}

impl Backends {
    /// The port `port` of a Service.
    pub(crate) fn find(&self, service: &Key, port: &Port) -> Option<Arc<ServingPort>> {
        let cells: Guard<_> = self.cells.load();
        let ports = cells.get(service)?.load();
        ports.iter().find(|candidate| candidate.is(port)).map(Arc::clone)
    }

    /// The addresses of the activators. True if they are other ones than before: then every Service is to be set again.
    ///
    /// An address that was one stays one for as long as a Service leads to it: the activator's own Endpoints change first, and a request is
    /// not to be sent to where one has just gone.
    pub(crate) fn set_activators(&self, endpoints: Option<&Endpoints>) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses: BTreeSet<SocketAddr> =
            endpoints.map(|endpoints| ready_sockets(endpoints).collect()).unwrap_or_default();
        let before = self.activators.load_full();
        let cells = self.cells.load();
        let used =
            cells.values().flat_map(|cell| cell.load().iter().flat_map(|port| port.addresses()).collect::<Vec<_>>());
        addresses.extend(used.filter(|address| before.contains(address)));
        let is_new = *before != addresses;
        if is_new {
            self.activators.store(Arc::new(addresses));
        }
        is_new
    }

    /// What a Service is now.
    pub(crate) fn set(&self, key: &Key, service: Option<&Service>, endpoints: Option<&Endpoints>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.cells.load().get(key).map(Arc::clone);
        let (Some(service), Some(endpoints)) = (service, endpoints) else {
            if known.is_some() {
                self.change(|cells| drop(cells.remove(key)));
            }
            return;
        };
        let before = known.as_ref().map(|cell| cell.load_full()).unwrap_or_default();
        let ports = Arc::new(self.compile((key, service, endpoints), &before));
        match known {
            Some(cell) => cell.store(ports),
            None => self.change(|cells| drop(cells.insert(key.clone(), Arc::new(ArcSwap::new(Arc::clone(&ports)))))),
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Key, Arc<Cell>>)) {
        let mut cells = HashMap::clone(&self.cells.load());
        change(&mut cells);
        self.cells.store(Arc::new(cells));
    }

    fn compile(
        &self,
        (key, service, endpoints): (&Key, &Service, &Endpoints),
        before: &[Arc<ServingPort>],
    ) -> Vec<Arc<ServingPort>> {
        let activators = self.activators.load();
        // Of Knative's own Services it is known who shows which certificate.
        let is_ours = label_value(&service.metadata, label::SERVERLESS_SERVICE).is_some();
        let ports = || service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let is_http2 = ports().any(is_http2);
        let compiled = ports().map(|port| {
            let (name, number) = (port.name.clone().unwrap_or_default(), u16::try_from(port.port).unwrap_or_default());
            let known = before
                .iter()
                .find(|known| known.number == number)
                .map(|known| known.pods.as_slice())
                .unwrap_or_default();
            let addresses: Vec<_> = serving_addresses(endpoints, &name).collect();
            let is_activator = !addresses.is_empty() && addresses.iter().all(|address| activators.contains(address));
            let is_secured = is_ours && name == port::SERVICE_HTTPS_NAME;
            let secured = is_secured.then(|| secured_by(&key.namespace, is_activator)).flatten();
            let target = |address| match &secured {
                Some(name) => speak(is_http2, address).with_tls(name.clone()),
                None => target(port, address),
            };
            let pods = addresses.into_iter().map(|address| Pod::new(target(address), 0, known)).collect();
            Arc::new(ServingPort { number, name, is_activator, is_secured, pods })
        });
        compiled.collect()
    }
}

fn address(pod: &Pod) -> Option<SocketAddr> {
    match &pod.target.address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

/// Who has to be at the other end of TLS.
fn secured_by(namespace: &str, is_activator: bool) -> Option<ServerName<'static>> {
    if is_activator { ServerName::try_from(ROUTING_NAME).ok() } else { name_of_namespace(namespace) }
}

fn target(port: &ServicePort, addr: SocketAddr) -> Target {
    speak(is_http2(port), addr)
}

fn speak(is_http2: bool, addr: SocketAddr) -> Target {
    if is_http2 { Target::http2(addr) } else { Target::http1(addr) }
}

/// What is spoken on a Service's port is in its name or `appProtocol`.
fn is_http2(port: &ServicePort) -> bool {
    let name = port.name.as_deref().unwrap_or_default();
    port.app_protocol.as_deref() == Some(port::APP_PROTOCOL_H2C)
        || name == port::SERVICE_HTTP2_NAME
        || ["http2-", "h2c", "grpc"].iter().any(|prefix| name.starts_with(prefix))
}

/// The ready addresses with the port that has this name. A Service with one port need not name it.
fn serving_addresses<'e>(endpoints: &'e Endpoints, name: &'e str) -> impl Iterator<Item = SocketAddr> + 'e {
    endpoints.subsets.iter().flatten().flat_map(move |subset| {
        let number = port_named(subset, name);
        let ips = subset.addresses.iter().flatten().filter_map(|address| address.ip.parse::<IpAddr>().ok());
        ips.filter_map(move |ip| number.map(|number| SocketAddr::new(ip, number)))
    })
}

fn port_named(subset: &EndpointSubset, name: &str) -> Option<u16> {
    let ports = subset.ports.as_deref().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref().unwrap_or_default() == name);
    u16::try_from(named?.port).ok()
}

/// Every ready address, with each of the ports.
fn ready_sockets(endpoints: &Endpoints) -> impl Iterator<Item = SocketAddr> + '_ {
    endpoints.subsets.iter().flatten().flat_map(|subset| {
        let ports = subset.ports.iter().flatten().filter_map(|port| u16::try_from(port.port).ok());
        let ips = move || subset.addresses.iter().flatten().filter_map(|address| address.ip.parse::<IpAddr>().ok());
        ports.flat_map(move |port| ips().map(move |ip| SocketAddr::new(ip, port)))
    })
}

/// Every ready address.
pub(crate) fn ready_addresses(endpoints: &Endpoints) -> impl Iterator<Item = IpAddr> + '_ {
    let addresses = endpoints.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten());
    addresses.filter_map(|address| address.ip.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base_net::connect::Protocol;
    use serde_json::json;

    fn service(ports: serde_json::Value) -> Service {
        serde_json::from_value(json!({"spec": {"ports": ports}})).unwrap()
    }

    fn endpoints(ips: &[&str], ports: serde_json::Value) -> Endpoints {
        let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(json!({"subsets": [{"addresses": addresses, "ports": ports}]})).unwrap()
    }

    fn shown(port: &ServingPort) -> String {
        let targets: Vec<_> = port.pods.iter().map(|pod| format!("{}/{:?}", pod.target, pod.target.protocol)).collect();
        format!("{} {}", if port.is_activator { "activator" } else { "pods" }, targets.join(" "))
    }

    #[test]
    fn ports_lead_to_addresses() {
        let backends = Backends::default();
        let key = Key::new("default", "hello-00001");
        backends.set_activators(Some(&endpoints(&["10.0.0.9"], json!([{"name": "http", "port": 8012}]))));
        let both = service(json!([
            {"name": "http2", "port": 81}, {"name": "https", "port": 443}, {"name": "http", "port": 80},
        ]));
        let http = json!([{"name": "http", "port": 8012}, {"name": "http2", "port": 8013}]);
        for (ips, port, expected) in [
            (&["10.0.0.1", "10.0.0.2"][..], Port::Number(80), Some("pods 10.0.0.1:8012/Http1 10.0.0.2:8012/Http1")),
            (&["10.0.0.1"], Port::Number(81), Some("pods 10.0.0.1:8013/Http2")),
            (&["10.0.0.9"], Port::Name("http".to_owned()), Some("activator 10.0.0.9:8012/Http1")),
            (&[], Port::Number(80), Some("pods ")),
            (&["10.0.0.1"], Port::Number(443), Some("pods ")),
            (&["10.0.0.1"], Port::Number(8080), None),
        ] {
            backends.set(&key, Some(&both), Some(&endpoints(ips, http.clone())));
            assert_eq!(backends.find(&key, &port).map(|port| shown(&port)).as_deref(), expected, "{port:?}");
        }
        backends.set(&key, None, None);
        assert!(backends.find(&key, &Port::Number(80)).is_none());
    }

    #[test]
    fn whoever_is_behind_tls_has_to_show_its_own_name() {
        let backends = Backends::default();
        backends.set_activators(Some(&endpoints(&["10.0.0.9"], json!([{"name": "https", "port": 8112}]))));
        let https = json!([{"name": "https", "port": 8112}]);
        let mut of_revision = service(json!([{"name": "http2", "port": 81}, {"name": "https", "port": 443}]));
        let find = |service: &Service, namespace: &str, ip: &str| {
            let key = Key::new(namespace, "hello-00001");
            backends.set(&key, Some(service), Some(&endpoints(&[ip], https.clone())));
            let port = backends.find(&key, &Port::Number(443)).unwrap();
            let target = port.pods[0].target.clone();
            assert_eq!(port.is_secured, target.tls.is_some());
            (target.tls.map(|name| name.to_str().into_owned()), target.protocol)
        };
        assert_eq!(find(&of_revision, "shop", "10.0.0.1").0, None, "it is somebody else's");
        let labels = json!({"networking.internal.knative.dev/serverlessservice": "hello-00001"});
        of_revision.metadata.labels = serde_json::from_value(labels).unwrap();
        for (namespace, ip, name) in [
            ("shop", "10.0.0.1", "kn-user-shop".to_owned()),
            ("shop", "10.0.0.9", "kn-routing".to_owned()),
            (&"n".repeat(60), "10.0.0.1", "data-plane.knative.dev".to_owned()),
        ] {
            assert_eq!(find(&of_revision, namespace, ip), (Some(name), Protocol::Http2));
        }
    }

    #[test]
    fn an_activator_that_has_gone_is_one_while_a_service_leads_to_it() {
        let backends = Backends::default();
        let (key, port) = (Key::new("default", "hello-00001"), Port::Number(80));
        let (of_service, http) =
            (service(json!([{"name": "http", "port": 80}])), json!([{"name": "http", "port": 8012}]));
        let set = |ip: &str| {
            backends.set(&key, Some(&of_service), Some(&endpoints(&[ip], http.clone())));
            backends.find(&key, &port).is_some_and(|port| port.is_activator)
        };
        backends.set_activators(Some(&endpoints(&["10.0.0.9"], http.clone())));
        assert!(set("10.0.0.9"));
        assert!(!backends.set_activators(None));
        assert!(set("10.0.0.9"), "it has gone, and its Service does not know yet");
        assert!(backends.set_activators(Some(&endpoints(&["10.0.0.8"], http.clone()))));
        assert!(set("10.0.0.9") && set("10.0.0.8"));
        assert!(backends.set_activators(Some(&endpoints(&["10.0.0.8"], http.clone()))), "nothing leads there any more");
        assert!(!set("10.0.0.9"), "somebody else's now");
    }

    #[test]
    fn the_protocol_is_in_the_port() {
        let addr = "10.0.0.1:1".parse().unwrap();
        for (port, expected) in [
            (json!({"port": 80, "name": "http"}), Protocol::Http1),
            (json!({"port": 80}), Protocol::Http1),
            (json!({"port": 80, "name": "http2"}), Protocol::Http2),
            (json!({"port": 80, "name": "grpc-web"}), Protocol::Http2),
            (json!({"port": 80, "name": "x", "appProtocol": "kubernetes.io/h2c"}), Protocol::Http2),
        ] {
            let port: ServicePort = serde_json::from_value(port).unwrap();
            assert_eq!(target(&port, addr).protocol, expected, "{port:?}");
        }
    }
}
