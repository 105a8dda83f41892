//! Where a request would go, without sending one.

use http::Uri;
use knative_apis::meta::Key;
use knative_logic::route_table::{Backend, Port, RouteTable, Side, Ways};
use serde::{Deserialize, Serialize};

use super::Gateway;

/// Where requests of a URL go now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The host, as it was asked for.
    pub host: String,
    /// Whether only requests from inside the cluster get there.
    pub is_cluster_local: bool,
    /// The Ingress that has the host.
    pub ingress: Key,
    /// What the path begins with; empty if every path does.
    pub prefix: String,
    /// Whether plain HTTP is sent away to HTTPS.
    pub redirects_to_https: bool,
    /// The backends between which a random number decides.
    pub shares: Vec<Share>,
    /// The host that this one stands for, and where that leads: for a mapped domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<Box<Destination>>,
}

/// A backend's part of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// How much.
    pub percent: u32,
    /// The Revision behind it, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Key>,
    /// Its Service.
    pub service: Key,
    /// The Service's port: a number or a name.
    pub port: String,
    /// What answers behind the Service now.
    pub leads_to: Leads,
    /// How many of them there are.
    pub addresses: usize,
}

/// What a Service leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leads {
    /// To Pods: its ServerlessService is in mode Serve.
    Pods,
    /// To the activator: mode Proxy.
    Activator,
    /// Nowhere.
    Nowhere,
}

impl Gateway {
    /// Where a request for `url` would go, if the host and the path are anybody's. A host of the inside is found, too.
    pub fn explain(&self, url: &Uri) -> Option<Destination> {
        let table = self.routes.table();
        let (host, path) = (url.host()?, url.path());
        let of = |side| self.destination(&table, side, host, path);
        of(Side::Public).or_else(|| of(Side::Private))
    }

    fn destination(&self, table: &RouteTable, side: Side, host: &str, path: &str) -> Option<Destination> {
        let ways = table.ways(side, host, path, |_| None)?;
        // As the handler does: once, and from the inside.
        let is_mapped = side == Side::Public && ways.shares().all(|(_, backend)| backend.revision.is_none());
        let stands_for = ways
            .rewrite_host()
            .filter(|_| is_mapped)
            .and_then(|other| self.destination(table, Side::Private, other, path));
        Some(Destination {
            host: host.to_owned(),
            is_cluster_local: side == Side::Private && !table.has_host(Side::Public, host),
            ingress: ways.ingress().clone(),
            prefix: ways.prefix().to_owned(),
            redirects_to_https: ways.redirects_to_https(),
            shares: self.shares(&ways),
            stands_for: stands_for.map(Box::new),
        })
    }

    fn shares(&self, ways: &Ways<'_>) -> Vec<Share> {
        let share = |(percent, backend): (u32, &Backend)| {
            let found = self.backends.find(&backend.service, &backend.port);
            let addresses = found.as_ref().map_or(0, |port| port.pods.len());
            let leads_to = match found {
                Some(port) if port.is_activator => Leads::Activator,
                Some(port) if !port.pods.is_empty() => Leads::Pods,
                _ => Leads::Nowhere,
            };
            let port = match &backend.port {
                Port::Number(number) => number.to_string(),
                Port::Name(name) => name.clone(),
            };
            let (revision, service) = (backend.revision.clone(), backend.service.clone());
            Share { percent, revision, service, port, leads_to, addresses }
        };
        ways.shares().map(share).collect()
    }
}
