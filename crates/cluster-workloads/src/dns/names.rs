//! What a name of the cluster's domain asks for.

use std::net::{IpAddr, Ipv4Addr};

use base_controller::Key;
use hickory_proto::rr::Name;

/// The thing that a name stands for, if there is one. All texts are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The domain itself.
    Apex,
    /// The name of this server.
    NameServer,
    /// The version of the specification.
    Version,
    /// A name with nothing but other names below it: `svc`, `pod`.
    Branch,
    /// Everything of a namespace.
    Namespace(String),
    /// A Service.
    Service(Key),
    /// A named port of a Service.
    Port { service: Key, port: String, protocol: String },
    /// An endpoint of a headless Service.
    Endpoint { service: Key, hostname: String },
    /// A Pod, by its address.
    Pod(IpAddr),
    /// Nothing that there can be.
    Unknown,
}

/// The meaning of the labels before the domain, as they stand in the name.
pub(super) fn parse(labels: &[String]) -> Asked {
    let labels: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
    match labels.as_slice() {
        [] => Asked::Apex,
        ["dns-version"] => Asked::Version,
        ["dns", "ns"] => Asked::NameServer,
        ["svc" | "pod" | "dns"] => Asked::Branch,
        ["svc", namespace] => Asked::Namespace((*namespace).to_owned()),
        ["svc", namespace, service] => Asked::Service(Key::new(*namespace, *service)),
        ["svc", namespace, service, hostname] => {
            Asked::Endpoint { service: Key::new(*namespace, *service), hostname: (*hostname).to_owned() }
        }
        ["svc", namespace, service, protocol, port] => match (protocol.strip_prefix('_'), port.strip_prefix('_')) {
            (Some(protocol), Some(port)) => Asked::Port {
                service: Key::new(*namespace, *service),
                port: port.to_owned(),
                protocol: protocol.to_owned(),
            },
            _ => Asked::Unknown,
        },
        ["pod", _namespace, address] => undashed(address).map_or(Asked::Unknown, Asked::Pod),
        _ => Asked::Unknown,
    }
}

/// The labels of `name` before `domain`, in lower case; none if it is not in it.
pub(super) fn within(name: &Name, domain: &Name) -> Option<Vec<String>> {
    if !domain.zone_of(name) {
        return None;
    }
    let count = name.iter().count().checked_sub(domain.iter().count())?;
    Some(name.iter().take(count).map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect())
}

/// The address whose reverse name this is: `4.3.2.1.in-addr.arpa.` for 1.2.3.4.
pub(super) fn reversed(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&str> = name.iter().map(|label| std::str::from_utf8(label).unwrap_or_default()).collect();
    let [d, c, b, a, in_addr, arpa] = labels.as_slice() else { return None };
    if !in_addr.eq_ignore_ascii_case("in-addr") || !arpa.eq_ignore_ascii_case("arpa") {
        return None;
    }
    format!("{a}.{b}.{c}.{d}").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// How an address is written where a label is needed.
pub(super) fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    v4.or_else(|| label.replace('-', ":").parse().ok())
}
